"""The last word of a search: the best few by the supernet's weights, each trained from scratch for a short while.

Weights that thousands of paths share rank architectures only roughly, and small differences among the best not at all.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from hetsearch.errors import Diverged
from hetsearch.nas.config import NasConfig, RewardConfig
from hetsearch.nas.costs import Path as Architecture
from hetsearch.nas.paths import Paths
from hetsearch.nas.rewards import Metrics, reward_of
from hetsearch.nas.search import Found
from hetsearch.nas.train import train_alone
from hetsearch.training.joining import Joining


@dataclass(frozen=True)
class Finalist:
    """One of the best few.

    Attributes:
        arch: its string.
        reward: with the supernet's weights.
        alone: its reward after a short training of its own; None where there was no final, or that diverged.
        metrics: of that training, on the validation split.
        seconds: that it took, over all starts.
    """

    arch: str
    reward: float
    alone: float | None = None
    metrics: Metrics | None = None
    seconds: float = 0.0


def unlike(ranked: Sequence[Architecture], count: int, differ: int) -> list[Architecture]:
    """The first of a ranking, and the next ones that differ from all before in at least ``differ`` genes."""
    chosen: list[Architecture] = []
    for path in ranked:
        if len(chosen) == count:
            break
        if all(sum(a != b for a, b in zip(path, other, strict=True)) >= differ for other in chosen):
            chosen.append(path)
    return chosen


def hold_final(
    config: NasConfig, reward: RewardConfig, joining: Joining, paths: Paths, found: Found, out: Path
) -> list[Finalist]:
    """Let the best of a search race; without ``search.final`` the best stands alone.

    Args:
        config: the search.
        reward: what decides.
        joining: from :func:`hetsearch.nas.train.open_search`.
        paths: the architectures.
        found: what was searched.
        out: folder of the short trainings, one a finalist; those that are done are not done again.

    Returns:
        The finalists, the winner first.

    Raises:
        Diverged: all of them, and no learning rate is looked for that they would not.
    """
    final = config.search.final
    best = found.best(paths, len(found.rewards))
    rivals = best[:1] if final is None else unlike(best, final.count, final.differ)
    if len(rivals) == 1:  # also where nothing else is as unlike the best: there is nobody to race
        return [Finalist(paths.spell(best[0]), found.rewards[best[0]])]
    finalists = []
    for number, path in enumerate(rivals):
        name = paths.spell(path)
        told = f"final, {number + 1} of {len(rivals)}: {name},"
        try:
            metrics, seconds = train_alone(config.final_recipe(name), joining, out / name)
        except Diverged as error:
            tqdm.write(f"{told} {error.what}", file=sys.stderr)
            finalists.append(Finalist(name, found.rewards[path]))
            continue
        alone = reward_of(metrics, reward)
        tqdm.write(f"{told} {reward.kind} {alone:.4f}", file=sys.stderr)
        finalists.append(Finalist(name, found.rewards[path], alone, metrics, round(seconds, 1)))
    if config.search.learning_rate is None and all(one.alone is None for one in finalists):
        raise Diverged(
            "the training of each finalist diverged",
            observed=f"{len(finalists)} at recipe.optimizer.lr {config.recipe.optimizer.lr:g}",
            hint="Lower recipe.optimizer.lr, or let the winner's be found: search.learning_rate.",
        )
    return sorted(finalists, key=lambda one: (one.alone is None, -(one.alone or 0.0), -one.reward, one.arch))
