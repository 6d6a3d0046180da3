from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import UsageError
from hetsearch.metrics import recall_at_k


@pytest.mark.parametrize("k", [1, 2, 3, 5, 50])
def test_agrees_with_a_loop(k):
    rows = np.random.default_rng(k).random((30, 8)) < 0.15
    expected = [float(any(row[:k])) if any(row) else np.nan for row in rows.tolist()]
    np.testing.assert_array_equal(recall_at_k(rows, k), expected)


def test_k_below_1_is_refused():
    with pytest.raises(UsageError, match="observed 0, expected at least 1"):
        recall_at_k(np.ones((1, 1), dtype=bool), 0)
