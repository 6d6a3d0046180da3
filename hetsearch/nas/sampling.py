"""Which path a step of the supernet's training takes: a pure function of the seed and the step.

Paths are drawn as the search draws them, by chance and then with repairs until the budget is kept; and in each step one
choice of one block is part of the path whatever it costs, each in its turn. Without that the dear ones would hardly be
trained, and a search would score them by untrained weights. Bins of MACs as in the release of "Single Path One-Shot
Neural Architecture Search"; the warm-up of widths as those who searched widths with it found necessary: the widest
alone at first, then one more at a time.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from hetsearch.config import Config
from hetsearch.nas.costs import MACS, Budget
from hetsearch.nas.paths import Paths

DRAWN = 8  # paths that one is chosen from, to hit a bin
SALT = 0x5A5  # so that paths are not drawn from the numbers that draw the augmentation
TURNS = 0x7E5  # of the order in which choices have their turns


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
    """Draws the path of each step: within the budget, over bins of MACs, every choice of every block in its turn.

    Where the widest blocks alone keep no budget, as in a space with widths far above it, they are drawn without one.

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
        self._turns = {count: self._turns_of(count) for count in range(1, len(paths.space.widths) + 1)}

    def path(self, step: int, steps: int) -> str:
        """The architecture of a step, of so many steps."""
        random, widths = np.random.default_rng([self.seed, SALT, step]), self.widths(step, steps)
        drawn = self.paths.draw(random, DRAWN, widths)
        place = None
        if turns := self._turns[widths]:
            round_, turn = divmod(step, len(turns))
            order = np.random.default_rng([self.seed, TURNS, round_]).permutation(len(turns))
            place, genes = turns[order[turn]]
            drawn[:, place] = random.choice(genes, size=DRAWN)
        kept = [
            found
            for row in drawn.tolist()
            if (found := self.paths.repaired(tuple(row), self.budget, random, widths=widths, keep=place)) is not None
        ]
        if not kept:
            return self.paths.spell(drawn[0])
        bins = np.digitize(self.paths.costs.of(kept)[:, MACS], self.edges[1:-1])
        # Of the bins that were hit: the widest alone are never cheap, and hardly any architecture is the smallest.
        return self.paths.spell(kept[int(np.flatnonzero(bins == random.choice(np.unique(bins)))[0])])

    def _turns_of(self, widths: int) -> list[tuple[int, list[int]]]:
        """Each choice that is one of several at its block and can keep the budget there: the position, its genes."""
        costs, usable = self.paths.costs, self.paths.usable(widths)
        least = [table[may].min(axis=0) for table, may in zip(costs.genes, usable, strict=True)]
        smallest = costs.fixed + np.sum(least, axis=0)
        turns = []
        for place, position in enumerate(self.paths.positions):
            choices: dict[str, list[int]] = {}
            for gene in np.flatnonzero(usable[place]).tolist():
                if self.budget.allows(smallest - least[place] + costs.genes[place][gene]):
                    choices.setdefault(position.genes[gene].choice, []).append(gene)
            if len({gene.choice for gene in position.genes}) > 1:
                turns += [(place, genes) for genes in choices.values()]
        return turns

    def widths(self, step: int, steps: int) -> int:
        """How many of the widths are in use, the widest first."""
        count, config = len(self.paths.space.widths), self.config
        done = step / max(1, steps)
        if done < config.widths_from:
            return 1
        if done >= config.widths_by:
            return count
        return 1 + int((count - 1) * (done - config.widths_from) / (config.widths_by - config.widths_from))
