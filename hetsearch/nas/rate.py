"""The learning rate of a network that the recipe was not made for, by short trainings."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from hetsearch.errors import Diverged
from hetsearch.nas.config import NasConfig
from hetsearch.nas.rewards import reward_of
from hetsearch.nas.train import train_alone
from hetsearch.training.joining import Joining

FACTOR = 2.0
MOST = 20  # rates that are tried


def climb(start: float, measure: Callable[[float], float]) -> dict[float, float | None]:
    """Learning rates from one on, doubled as long as that is better, or else halved as long as that is.

    Where the first diverges it is halved until one does not. It ends at the first rate that is not better, even if that
    is by chance and a better one lies behind it, and after ``MOST`` rates.

    Args:
        start: the first rate.
        measure: what a rate is worth; of equals the first is kept.

    Returns:
        What each rate that was tried is worth, the best first; None where ``measure`` raised :class:`Diverged`.

    Raises:
        Diverged: at every rate that was tried.
    """

    def tried(rate: float) -> float:
        try:
            return measure(rate)
        except Diverged as error:
            tqdm.write(f"learning rate {rate:g}: {error.what}", file=sys.stderr)
            return -math.inf

    worth = {start: tried(start)}
    best = start
    for factor in (FACTOR, 1 / FACTOR):
        if factor > 1 and worth[best] == -math.inf:
            continue
        while (rate := best * factor) not in worth and len(worth) < MOST:
            worth[rate] = tried(rate)
            if worth[rate] > worth[best] or worth[best] == -math.inf:
                best = rate
    if worth[best] == -math.inf:
        raise Diverged(
            "the training diverged at every learning rate that was tried",
            observed=f"{start:g} to {best:g}",
            hint="Set optimizer.clip, or look at the images and the objectives.",
        )
    ranked = [best, *(rate for rate in worth if rate != best)]
    return {rate: None if worth[rate] == -math.inf else worth[rate] for rate in ranked}


@dataclass(frozen=True)
class Trial:
    """A learning rate that was tried.

    Attributes:
        rate: the learning rate.
        reward: after a short training with it; None if that diverged.
        seconds: that it took, over all starts; 0 if it diverged, or was the race's.
    """

    rate: float
    reward: float | None
    seconds: float


def find_rate(config: NasConfig, joining: Joining, architecture: str, out: Path, final: Path) -> list[Trial]:
    """Try learning rates for one architecture; without ``search.learning_rate`` none is tried.

    Args:
        config: the search, whose reward decides.
        joining: from :func:`hetsearch.nas.train.open_search`.
        architecture: its string.
        out: folder of the short trainings, one a rate; those that are done are not done again, but for those
            that diverged.
        final: folder of the race, whose training serves where it is the same.

    Returns:
        The trials, the best first.

    Raises:
        Diverged: at every rate that was tried.
    """
    if config.search.learning_rate is None:
        return []
    seconds: dict[float, float] = {}

    def measure(rate: float) -> float:
        recipe = config.rate_recipe(architecture, rate)
        raced = config.search.final is not None and recipe == config.final_recipe(architecture)
        folder = final / architecture if raced else out / f"{architecture}-{rate:g}"
        metrics, seconds[rate] = train_alone(recipe, joining, folder)
        if raced:
            seconds[rate] = 0.0
        reward = reward_of(metrics, config.reward)
        tqdm.write(f"learning rate {rate:g}: {config.reward.kind} {reward:.4f}", file=sys.stderr)
        return reward

    found = climb(config.winner_recipe(architecture).optimizer.lr, measure)
    return [Trial(rate, reward, round(seconds.get(rate, 0.0), 1)) for rate, reward in found.items()]
