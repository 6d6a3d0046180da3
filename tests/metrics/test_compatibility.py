from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import DataError
from hetsearch.metrics import average_compatibility, criterion_matrix


def test_agrees_with_loops_ties_included():
    rng = np.random.default_rng(21)
    for size in (2, 3, 5):
        for _ in range(10):
            matrix = rng.integers(0, 5, (size, size)) / 5
            met = criterion_matrix(matrix)
            for new in range(size):
                for old in range(size):
                    assert met[new, old] == (old < new and matrix[new, old] > matrix[old, old])
            pairs = size * (size - 1) / 2
            violations = sum(matrix[n, o] <= matrix[o, o] for n in range(size) for o in range(n))
            assert average_compatibility(matrix) == pytest.approx(1 - violations / pairs, abs=1e-12)


def test_a_tie_fails():
    assert average_compatibility(np.array([[0.5, 0.0], [0.5, 0.9]])) == 0.0


def test_a_column_is_compared_with_its_own_diagonal():
    # The new query encoder beats the old one on the old gallery, though not itself on its own.
    assert average_compatibility(np.array([[0.5, 0.9], [0.6, 0.7]])) == 1.0


def test_what_lies_above_the_diagonal_need_not_be_measured():
    matrix = np.array([[0.5, np.nan, np.nan], [0.6, 0.7, np.nan], [0.4, 0.8, 0.9]])
    assert average_compatibility(matrix) == pytest.approx(2 / 3)


def test_degenerate_input():
    assert np.isnan(average_compatibility(np.array([[0.5]])))
    assert np.isnan(average_compatibility(np.zeros((0, 0))))
    for bad in (np.ones((2, 3)), np.ones(4), np.array([[0.5, 0.1], [np.nan, 0.7]]), np.array([[np.nan]])):
        with pytest.raises(DataError, match=r"matrix of encoders is wrong: .*measured on and below the diagonal"):
            average_compatibility(bad)
