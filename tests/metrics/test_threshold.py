from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import UsageError
from hetsearch.metrics.threshold import strict_threshold


@pytest.mark.parametrize("seed", range(5))
def test_no_lower_threshold_keeps_the_share(seed):
    rng = np.random.default_rng(seed)
    impostors = rng.integers(-5, 6, 40) / 10  # many ties, half of them below 0
    for share in (0.025, 0.03, 0.1, 0.25, 0.5, 0.9, 0.99):
        threshold = strict_threshold(impostors, share)
        assert np.mean(impostors > threshold) <= share
        lower = [score for score in impostors if score < threshold]
        # Between two neighbouring scores the accepted impostors are the same, so only scores need a look.
        assert not lower or np.mean(impostors > max(lower)) > share


def test_rounding_of_the_product_costs_no_impostor():
    impostors = np.arange(100.0)
    assert 100 * 0.29 < 29
    assert strict_threshold(impostors, 0.29) == 70.0  # 71 … 99 are 29
    for count in range(1, 100):
        assert np.count_nonzero(impostors > strict_threshold(impostors, count / 100)) == count


def test_too_few_impostors_say_nothing():
    assert strict_threshold(np.arange(100.0), 0.01) == 98.0
    assert strict_threshold(np.arange(99.0), 0.01) is None
    assert strict_threshold(np.empty(0), 0.5) is None


@pytest.mark.parametrize("share", [0, -0.1, 1, 1.5, float("nan")])
def test_shares_outside_are_refused(share):
    with pytest.raises(UsageError, match=r"share of false accepts is wrong: .*above 0 and below 1"):
        strict_threshold(np.arange(5.0), share)
