from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import DataError
from hetsearch.metrics import flip_rates


def test_agrees_with_a_loop():
    rng = np.random.default_rng(13)
    before, now = rng.integers(0, 2, 200), rng.integers(0, 2, 200)
    flips = flip_rates(before, now)
    assert flips.negative == sum(b == 1 and n == 0 for b, n in zip(before, now, strict=True)) / 200
    assert flips.positive == sum(b == 0 and n == 1 for b, n in zip(before, now, strict=True)) / 200
    assert flips.positive - flips.negative == pytest.approx(now.mean() - before.mean())


def test_truth_values_and_floats_are_the_same():
    before, now = np.array([1.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0])
    assert flip_rates(before, now) == flip_rates(before.astype(bool), now.astype(bool)) == (1 / 3, 1 / 3)


def test_degenerate_input():
    assert np.isnan(flip_rates(np.empty(0), np.empty(0))).all()
    with pytest.raises(DataError, match=r"same queries twice: observed shapes \(2,\) and \(3,\)"):
        flip_rates(np.ones(2), np.ones(3))
    with pytest.raises(DataError, match="right or wrong for each query"):
        flip_rates(np.array([1.0, np.nan]), np.ones(2))
