"""How long something takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class Times:
    """How long the calls of one work took.

    Attributes:
        clock: milliseconds by the clock of each call, ``(rounds, calls)``.
        cpu: milliseconds that the process's threads worked a call, ``(rounds,)``; of a busy machine it tells more.
    """

    clock: NDArray[np.float64]
    cpu: NDArray[np.float64]

    @property
    def medians(self) -> NDArray[np.float64]:
        """The median of each round by the clock, ``(rounds,)``."""
        found: NDArray[np.float64] = np.median(self.clock, axis=1)
        return found


def in_turns(works: Mapping[str, Callable[[], object]], *, rounds: int, seconds: float) -> dict[str, Times]:
    """Time works that take turns, round by round, so that a busy machine troubles all alike.

    Args:
        works: what is timed, by name.
        rounds: how often each has its turn.
        seconds: about how long a turn takes; a work that takes longer is called once a turn.
    """
    calls = {}
    for name, work in works.items():
        work()  # the first call sets things up
        begin = time.perf_counter()
        work()
        calls[name] = max(1, int(seconds / max(time.perf_counter() - begin, 1e-6)))
    turns: dict[str, list[tuple[list[float], float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            work()  # the caches still hold what the one before needed
            turns[name].append(_turn(work, calls[name]))
    return {
        name: Times(np.array([clock for clock, _ in found]), np.array([cpu for _, cpu in found]))
        for name, found in turns.items()
    }


def _turn(work: Callable[[], object], calls: int) -> tuple[list[float], float]:
    clock, begun = [], time.process_time()
    for _ in range(calls):
        start = time.perf_counter()
        work()
        clock.append((time.perf_counter() - start) * 1e3)
    return clock, (time.process_time() - begun) * 1e3 / calls
