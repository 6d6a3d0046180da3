from __future__ import annotations

import math

import numpy as np
import pytest

from hetsearch.errors import UsageError
from hetsearch.metrics import ndcg


def test_by_hand():
    rows = np.array([[0, 1, 0, 1]], dtype=bool)
    gained, best = 1 / math.log2(3) + 1 / math.log2(5), 1 + 1 / math.log2(3)
    assert ndcg(rows)[0] == pytest.approx(gained / best)
    assert ndcg(rows, k=3)[0] == pytest.approx(1 / math.log2(3) / best)
    assert ndcg(rows, k=1)[0] == 0.0


def test_the_best_ranking_is_1_at_every_k():
    rows = np.array([[1, 1, 1, 0, 0]], dtype=bool)
    assert [ndcg(rows, k)[0] for k in (1, 2, 3, 4, 9, None)] == [1.0] * 6


def test_empty_input():
    assert np.isnan(ndcg(np.zeros((2, 0), dtype=bool))).all()
    assert ndcg(np.zeros((0, 5), dtype=bool), k=2).shape == (0,)
    assert np.isnan(ndcg(np.zeros((1, 5), dtype=bool))).all()


def test_k_below_1_is_refused():
    with pytest.raises(UsageError, match=r"the k of ndcg@k is wrong: observed 0"):
        ndcg(np.ones((1, 1), dtype=bool), 0)
