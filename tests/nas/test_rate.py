"""The climb to a network's learning rate: which rates are tried, and which is kept."""

from __future__ import annotations

import math

import pytest

from hetsearch.errors import Diverged
from hetsearch.nas.rate import climb


@pytest.mark.parametrize(
    ("peak", "tried"),
    [
        (0.01, [0.01, 0.02, 0.005]),
        (0.08, [0.01, 0.02, 0.04, 0.08, 0.16]),
        (0.0025, [0.01, 0.02, 0.005, 0.0025, 0.00125]),
    ],
)
def test_the_peak_is_found_with_a_worse_rate_on_either_side(peak: float, tried: list[float]) -> None:
    asked: list[float] = []

    def measure(rate: float) -> float:
        asked.append(rate)
        return 1.0 - abs(math.log(rate / peak))

    found = climb(0.01, measure)
    assert asked == pytest.approx(tried)  # each once
    assert next(iter(found)) == pytest.approx(peak)
    assert sorted(found) == pytest.approx(sorted(tried))
    assert all(worth == 1.0 - abs(math.log(rate / peak)) for rate, worth in found.items())


@pytest.mark.parametrize("other", [0.5, math.nan])
def test_of_equals_and_of_what_diverges_the_first_is_kept(other: float) -> None:
    found = climb(0.01, lambda rate: 0.5 if rate == 0.01 else other)
    assert list(found) == [0.01, 0.02, 0.005]


def test_a_rate_at_which_the_training_diverges_is_the_worst(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(rate: float) -> float:
        if rate > 0.015:
            raise Diverged("the training diverged at step 7", observed="loss nan")
        return 1.0 - abs(rate - 0.01)

    found = climb(0.02, measure)
    assert list(found) == [0.01, 0.02, 0.04, 0.005]
    assert list(found.values()) == [1.0, None, None, 0.995]
    assert "learning rate 0.04: the training diverged at step 7\n" in capsys.readouterr().err
