from __future__ import annotations

import numpy as np
import pytest

from hetsearch.runtime.timing import in_turns, median_ms


def test_median_of_timed_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    # Start of the limit; then per call: limit, start, end. Calls take 5, 1 and 3 ms.
    ticks = iter([0.0, 1.000, 1.005, 1.1, 2.000, 2.001, 2.1, 3.000, 3.003])
    monkeypatch.setattr("hetsearch.runtime.timing.time.perf_counter", lambda: next(ticks))
    calls: list[int] = []
    assert median_ms(lambda: calls.append(1), runs=3, seconds=10) == pytest.approx(3.0)
    assert len(calls) == 4  # one to get warm


def test_a_slow_network_is_timed_at_least_once() -> None:
    assert median_ms(lambda: None, runs=5, seconds=0.0) >= 0


def test_works_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that only the works move: one takes 2 ms, of which it works 1, the other 10."""
    now, worked = [0.0], [0.0]
    monkeypatch.setattr("hetsearch.runtime.timing.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("hetsearch.runtime.timing.time.process_time", lambda: worked[0])
    order: list[str] = []

    def work(name: str, clock: float, cpu: float) -> None:
        order.append(name)
        now[0] += clock
        worked[0] += cpu

    found = in_turns(
        {"fast": lambda: work("fast", 0.002, 0.001), "slow": lambda: work("slow", 0.010, 0.010)},
        rounds=3, seconds=0.0065,
    )  # fmt: skip
    assert (found["fast"].clock.shape, found["slow"].clock.shape) == ((3, 3), (3, 1))
    assert np.allclose(found["fast"].clock, 2.0)
    assert np.allclose(found["fast"].cpu, 1.0)
    assert np.allclose(found["slow"].medians, 10.0)
    # Twice to begin with, then each turn one call that is not timed.
    assert order == ["fast"] * 2 + ["slow"] * 2 + (["fast"] * 4 + ["slow"] * 2) * 3
