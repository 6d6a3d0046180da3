"""The learning rate of a network that the recipe was not made for, by short trainings."""

from __future__ import annotations

from collections.abc import Callable

FACTOR = 2.0


def climb(start: float, measure: Callable[[float], float]) -> dict[float, float]:
    """Learning rates from one on, doubled as long as that is better, or else halved as long as that is.

    Args:
        start: the first rate.
        measure: what a rate is worth; of equals, and of what cannot be compared (NaN), the first is kept.

    Returns:
        What each rate that was tried is worth, the best first. No neighbour of the best is better, if that lies among
        those a factor of two away and the worth rises to one peak.
    """
    worth = {start: measure(start)}
    best = start
    for factor in (FACTOR, 1 / FACTOR):
        while True:
            rate = best * factor
            worth[rate] = measure(rate)
            if not worth[rate] > worth[best]:
                break
            best = rate
        if best != start:
            break
    return {best: worth.pop(best), **worth}
