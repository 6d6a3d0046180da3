"""Which path a step of the supernet's training takes: a pure function of the seed and the step.

Bins of MACs as in the release of "Single Path One-Shot Neural Architecture Search"; the warm-up of widths as those who
searched widths with it found necessary: the widest alone at first, then one more at a time.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from hetsearch.config import Config
from hetsearch.nas.costs import MACS, Budget
from hetsearch.nas.paths import Paths

DRAWN = 512  # paths that one is chosen from; the release tries as often to hit a bin
SALT = 0x5A5  # so that paths are not drawn from the numbers that draw the augmentation


class SamplingConfig(Config):
    """How paths are drawn for the training of a supernet."""

    bins: Annotated[int, Field(ge=1, le=64)] = 5  # of MACs, from the smallest architecture to the budget
    widths_from: Annotated[float, Field(ge=0, le=1)] = 0.2  # share of all steps: until then the widest alone
    widths_by: Annotated[float, Field(ge=0, le=1)] = 0.5  # share of all steps: from then on every width

    @model_validator(mode="after")
    def _ordered(self) -> SamplingConfig:
        if self.widths_from > self.widths_by:
            raise ValueError(f"widths_from ({self.widths_from}) is after widths_by ({self.widths_by})")
        return self


class PathSampler:
    """Draws the path of each step: within the budget, and evenly over bins of MACs.

    Args:
        paths: the architectures.
        config: how.
        budget: of the search that follows; what it will never look at need not be trained.
        seed: of the training.
    """

    def __init__(self, paths: Paths, config: SamplingConfig, budget: Budget, seed: int) -> None:
        self.paths, self.config, self.budget, self.seed = paths, config, budget, seed
        low, high = paths.costs.smallest()[MACS], min(paths.costs.largest()[MACS], budget.limits[MACS])
        self.edges = np.linspace(low, high, config.bins + 1)

    def path(self, step: int, steps: int) -> str:
        """The architecture of a step, of so many steps."""
        random = np.random.default_rng([self.seed, SALT, step])
        drawn = self.paths.draw(random, DRAWN, self.widths(step, steps))
        costs = self.paths.costs.of(drawn)
        kept = np.flatnonzero(self.budget.allows(costs))
        if not len(kept):  # the widest alone may all be too dear
            return self.paths.spell(drawn[np.nanmax(costs / self.budget.limits, axis=1).argmin()])
        bins = np.digitize(costs[kept, MACS], self.edges[1:-1])
        # Of the bins that were hit: the widest alone are never cheap, and hardly any architecture is the smallest.
        return self.paths.spell(drawn[kept[bins == random.choice(np.unique(bins))][0]])

    def widths(self, step: int, steps: int) -> int:
        """How many of the widths are in use, the widest first."""
        count, config = len(self.paths.space.widths), self.config
        done = step / max(1, steps)
        if done < config.widths_from:
            return 1
        if done >= config.widths_by:
            return count
        return 1 + int((count - 1) * (done - config.widths_from) / (config.widths_by - config.widths_from))
