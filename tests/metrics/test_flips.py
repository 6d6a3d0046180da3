from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import DataError
from hetsearch.metrics import flip_rates, flip_rates_by_class


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


def test_each_class_agrees_with_a_loop_and_with_the_whole():
    rng = np.random.default_rng(15)
    before, now, labels = rng.integers(0, 2, 150), rng.integers(0, 2, 150), rng.choice(["owl", "cat", "dog"], 150)
    by_class = flip_rates_by_class(before, now, labels)
    assert list(by_class) == ["cat", "dog", "owl"]
    for name, flips in by_class.items():
        pairs = [(b, n) for b, n, label in zip(before, now, labels, strict=True) if label == name]
        assert flips == (
            pairs.count((1, 0)) / len(pairs),
            pairs.count((0, 1)) / len(pairs),
            len(pairs),
            pairs.count((1, 0)),
            pairs.count((0, 1)),
        )
        # The difference of the two recalls at 1 is what was mended less what was broken, of each class.
        assert flips.mended - flips.broken == now[labels == name].sum() - before[labels == name].sum()
        change = now[labels == name].mean() - before[labels == name].mean()
        assert flips.positive - flips.negative == pytest.approx(change, abs=1e-12)
    whole = flip_rates(before, now)
    assert sum(flips.broken for flips in by_class.values()) / 150 == whole.negative
    assert sum(flips.mended for flips in by_class.values()) / 150 == whole.positive
    assert sum(flips.queries for flips in by_class.values()) == 150


def test_classes_may_be_numbers_and_none():
    assert flip_rates_by_class(np.array([True]), np.array([False]), np.array([7])) == {7: (1.0, 0.0, 1, 1, 0)}
    assert flip_rates_by_class(np.empty(0), np.empty(0), []) == {}
    with pytest.raises(DataError, match="queries and labels do not match: observed 2 queries and 1 labels"):
        flip_rates_by_class(np.ones(2), np.ones(2), ["a"])
