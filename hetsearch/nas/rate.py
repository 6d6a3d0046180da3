"""The learning rate of a network that the recipe was not made for, by short trainings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from hetsearch.nas.config import NasConfig
from hetsearch.nas.rewards import reward_of
from hetsearch.nas.train import train_alone
from hetsearch.training.joining import Joining

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


@dataclass(frozen=True)
class Trial:
    """A learning rate that was tried.

    Attributes:
        rate: the learning rate.
        reward: after a short training with it.
        seconds: that it took, over all starts.
    """

    rate: float
    reward: float
    seconds: float


def find_rate(config: NasConfig, joining: Joining, architecture: str, out: Path) -> list[Trial]:
    """Try learning rates for one architecture; without ``search.rate`` none is tried.

    Args:
        config: the search, whose reward decides.
        joining: from :func:`hetsearch.nas.train.open_search`.
        architecture: its string.
        out: folder of the short trainings, one a rate; those that are done are not done again.

    Returns:
        The trials, the best first.
    """
    if config.search.rate is None:
        return []
    seconds: dict[float, float] = {}

    def measure(rate: float) -> float:
        recipe = config.rate_recipe(architecture, rate)
        metrics, seconds[rate] = train_alone(recipe, joining, out / f"{architecture}-{rate:g}")
        reward = reward_of(metrics, config.reward)
        tqdm.write(f"learning rate {rate:g}: {config.reward.kind} {reward:.4f}", file=sys.stderr)
        return reward

    found = climb(config.winner_recipe(architecture).optimizer.lr, measure)
    return [Trial(rate, reward, round(seconds[rate], 1)) for rate, reward in found.items()]
