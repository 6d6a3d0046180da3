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

AT_ONCE = 64  # paths drawn together
SALT = 0x5A5  # so that paths are not drawn from the numbers that draw the augmentation


class SamplingConfig(Config):
    """How paths are drawn for the training of a supernet."""

    bins: Annotated[int, Field(ge=1, le=64)] = 5  # of MACs, drawn evenly
    macs: tuple[float, float] | None = None  # from, to; None: from the smallest architecture to the budget
    tries: Annotated[int, Field(ge=1)] = 512  # paths drawn to hit a bin; then any will do
    widths_from: Annotated[float, Field(ge=0, le=1)] = 0.2  # share of all steps: until then the widest alone
    widths_by: Annotated[float, Field(ge=0, le=1)] = 0.5  # share of all steps: from then on every width

    @model_validator(mode="after")
    def _ordered(self) -> SamplingConfig:
        if self.widths_from > self.widths_by:
            raise ValueError(f"widths_from ({self.widths_from}) is after widths_by ({self.widths_by})")
        if self.macs is not None and not 0 <= self.macs[0] < self.macs[1]:
            raise ValueError(f"macs must be a smaller and a larger number, not {self.macs}")
        return self


class PathSampler:
    """Draws the path of each step.

    Args:
        paths: the architectures.
        config: how.
        budget: of the search that follows; what it will never look at need not be trained.
        seed: of the training.
    """

    def __init__(self, paths: Paths, config: SamplingConfig, budget: Budget, seed: int) -> None:
        self.paths, self.config, self.seed = paths, config, seed
        low, high = paths.costs.smallest()[MACS], paths.costs.largest()[MACS]
        if budget.macs is not None:
            high = min(high, budget.macs)
        if config.macs is not None:
            low, high = config.macs
        self.edges = np.linspace(low, high, config.bins + 1)

    def path(self, step: int, steps: int) -> str:
        """The architecture of a step, of so many steps."""
        random = np.random.default_rng([self.seed, SALT, step])
        widths = self.widths(step, steps)
        place = int(random.integers(self.config.bins))
        for _ in range(-(-self.config.tries // AT_ONCE)):
            drawn = self.paths.draw(random, AT_ONCE, widths)
            macs = self.paths.costs.of(drawn)[:, MACS]
            inside = np.flatnonzero((macs >= self.edges[place]) & (macs <= self.edges[place + 1]))
            if len(inside):
                return self.paths.spell(drawn[inside[0]])
        return self.paths.spell(drawn[0])

    def widths(self, step: int, steps: int) -> int:
        """How many of the widths are in use, the widest first."""
        count, config = len(self.paths.space.widths), self.config
        done = step / max(1, steps)
        if done < config.widths_from:
            return 1
        if done >= config.widths_by:
            return count
        return 1 + int((count - 1) * (done - config.widths_from) / (config.widths_by - config.widths_from))
