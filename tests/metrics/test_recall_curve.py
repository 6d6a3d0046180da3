from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import UsageError
from hetsearch.metrics import recall_at_each_k, recall_at_k


def test_each_column_is_recall_at_its_k():
    rows = np.random.default_rng(0).random((40, 12)) < 0.1
    curve = recall_at_each_k(rows, 20)
    assert curve.shape == (40, 20)
    for k in range(1, 21):
        np.testing.assert_array_equal(curve[:, k - 1], recall_at_k(rows, k))


def test_empty_input():
    assert np.isnan(recall_at_each_k(np.zeros((2, 0), dtype=bool), 3)).all()
    assert recall_at_each_k(np.zeros((0, 5), dtype=bool), 3).shape == (0, 3)


def test_length_below_1_is_refused():
    with pytest.raises(UsageError, match="length of the recall curve"):
        recall_at_each_k(np.ones((1, 1), dtype=bool), 0)
