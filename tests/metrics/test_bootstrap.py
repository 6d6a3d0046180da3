"""The bootstrap against a naive loop over the same draws."""

from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import DataError
from hetsearch.metrics import bootstrap_means, difference_interval, interval, mean_interval, ratio_interval

DRAWS, SEED = 150, 5  # not a multiple of the block


def naive(values, statistic):
    """``statistic`` of the drawn rows, one draw after another."""
    random = np.random.default_rng(SEED)
    return np.array([statistic(values[random.integers(0, len(values), len(values))]) for _ in range(DRAWS)])


@pytest.fixture
def values():
    rng = np.random.default_rng(11)
    return np.stack([rng.random(37), rng.random(37) * 0.5 + 0.1], axis=1)


def test_means_agree_with_a_loop(values):
    expected = naive(values, lambda rows: rows.mean(axis=0))
    np.testing.assert_allclose(bootstrap_means(values, draws=DRAWS, seed=SEED), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("ours", "statistic"),
    [
        (lambda v: mean_interval(v[:, 0], draws=DRAWS, seed=SEED), lambda r: r[:, 0].mean()),
        (
            lambda v: difference_interval(v[:, 0], v[:, 1], draws=DRAWS, seed=SEED),
            lambda r: (r[:, 0] - r[:, 1]).mean(),
        ),
        (
            lambda v: ratio_interval(v[:, 0], v[:, 1], draws=DRAWS, seed=SEED),
            lambda r: r[:, 0].mean() / r[:, 1].mean(),
        ),
    ],
    ids=["mean", "difference", "ratio"],
)
def test_intervals_agree_with_a_loop(values, ours, statistic):
    samples = naive(values, statistic)
    expected = np.percentile(samples, [2.5, 97.5])
    np.testing.assert_allclose(ours(values), expected, rtol=1e-10)


def test_pairing_makes_a_constant_difference_certain(values):
    low, high = difference_interval(values[:, 0] + 0.25, values[:, 0])
    assert low == pytest.approx(0.25)
    assert high == pytest.approx(0.25)


def test_the_default_draws_are_always_the_same(values):
    np.testing.assert_array_equal(bootstrap_means(values), bootstrap_means(values))
    assert bootstrap_means(values).shape == (1000, 2)


def test_the_interval_of_a_mean_is_about_two_standard_errors_wide():
    values = np.random.default_rng(12).random(400)
    low, high = mean_interval(values)
    assert low < values.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)


def test_level():
    samples = np.arange(1001.0)
    assert interval(samples, level=0.5) == (250.0, 750.0)
    assert interval(samples) == pytest.approx((25.0, 975.0))


def test_degenerate_input():
    assert np.isnan(bootstrap_means(np.empty((0, 2)), draws=3)).all()
    assert np.isnan(ratio_interval(np.ones(4), np.zeros(4))).all()
    with pytest.raises(DataError, match="values of a bootstrap are wrong"):
        mean_interval(np.array([0.5, np.nan]))
    with pytest.raises(DataError, match="not of the same queries"):
        difference_interval(np.ones(3), np.ones(4))
