"""How long something takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

RUNS = 50  # timed runs
SECONDS = 3.0  # timing stops after this long, for a large network on a slow machine


def median_ms(work: Callable[[], object], *, runs: int = RUNS, seconds: float = SECONDS) -> float:
    """Median time of ``work`` in milliseconds, over at most ``runs`` calls and about ``seconds``, warm."""
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < runs and (not times or time.perf_counter() < end):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000.0
