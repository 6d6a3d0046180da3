from __future__ import annotations

import pytest

from hetsearch.runtime.timing import median_ms


def test_median_of_timed_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    # Start of the limit; then per call: limit, start, end. Calls take 5, 1 and 3 ms.
    ticks = iter([0.0, 1.000, 1.005, 1.1, 2.000, 2.001, 2.1, 3.000, 3.003])
    monkeypatch.setattr("hetsearch.runtime.timing.time.perf_counter", lambda: next(ticks))
    calls: list[int] = []
    assert median_ms(lambda: calls.append(1), runs=3, seconds=10) == pytest.approx(3.0)
    assert len(calls) == 4  # one to get warm


def test_a_slow_network_is_timed_at_least_once() -> None:
    assert median_ms(lambda: None, runs=5, seconds=0.0) >= 0
