from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from hetsearch.metrics import average_precision


def loop(row):
    found, total = 0, 0.0
    for rank, relevant in enumerate(row, start=1):
        if relevant:
            found += 1
            total += found / rank
    return total / found if found else float("nan")


@pytest.mark.parametrize("share", [0.02, 0.2, 0.9])
def test_agrees_with_a_loop(share):
    rows = np.random.default_rng(7).random((50, 40)) < share
    np.testing.assert_allclose(average_precision(rows), [loop(row) for row in rows], rtol=1e-12)


def test_agrees_with_scikit_learn_without_ties():
    rng = np.random.default_rng(8)
    rows = rng.random((30, 60)) < 0.3
    scores = -np.arange(60.0)
    expected = [average_precision_score(row, scores) for row in rows]
    np.testing.assert_allclose(average_precision(rows), expected, rtol=1e-12)


def test_by_hand():
    rows = np.array([[1, 0, 1, 0, 0, 1]], dtype=bool)
    assert average_precision(rows)[0] == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 3)


def test_empty_input():
    assert np.isnan(average_precision(np.zeros((2, 0), dtype=bool))).all()
    assert average_precision(np.zeros((0, 5), dtype=bool)).shape == (0,)
