from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import UsageError
from hetsearch.metrics import average_precision, average_precision_at_k


def test_by_hand():
    rows = np.array([[1, 0, 1, 0, 0, 1]], dtype=bool)
    assert average_precision_at_k(rows, 1)[0] == 1.0
    assert average_precision_at_k(rows, 2)[0] == pytest.approx(1 / 2)
    assert average_precision_at_k(rows, 3)[0] == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision_at_k(rows, 5)[0] == pytest.approx((1 + 2 / 3) / 3)  # three positives, not five


def test_all_of_the_first_k_right_is_1_whatever_k():
    rows = np.array([[1, 1, 1, 1]], dtype=bool)
    assert [average_precision_at_k(rows, k)[0] for k in (1, 2, 4, 9)] == [1.0] * 4


def test_k_of_all_items_is_average_precision():
    rows = np.random.default_rng(16).random((30, 12)) < 0.3
    for k in (12, 1000):
        np.testing.assert_array_equal(average_precision_at_k(rows, k), average_precision(rows))


def test_empty_input():
    assert np.isnan(average_precision_at_k(np.zeros((2, 0), dtype=bool), 3)).all()
    assert average_precision_at_k(np.zeros((0, 5), dtype=bool), 3).shape == (0,)
    assert np.isnan(average_precision_at_k(np.zeros((1, 5), dtype=bool), 3)).all()


def test_k_below_1_is_refused():
    with pytest.raises(UsageError, match=r"the k of map@k is wrong: observed 0, expected at least 1"):
        average_precision_at_k(np.ones((1, 1), dtype=bool), 0)
