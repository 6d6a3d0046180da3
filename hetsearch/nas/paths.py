"""Architectures of a search space as tuples of numbers: drawn, mutated, crossed, and repaired to keep a budget.

A choice is drawn evenly among the choices of its block, then its width among the widths; were all genes alike, choices
with widths would drown the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import UsageError
from hetsearch.models.search_space import Position, SearchSpace, parse, positions_of, spell
from hetsearch.nas.costs import KINDS, Budget, Costs, Path, costs_of, shown
from hetsearch.preprocess import InputSpec

REPAIRS = 200  # changes of one gene before an architecture is given up
DRAWS = 50  # architectures drawn before a budget is

Draws = NDArray[np.int64]


class Paths:
    """The architectures of a search space, with their costs.

    Args:
        space: the search space.
        spec: what the encoders take.
        dim: length of their vectors.

    Attributes:
        positions: the blocks.
        costs: of each gene; measured latencies are put in by whoever needs them.
    """

    def __init__(self, space: SearchSpace, spec: InputSpec, dim: int) -> None:
        self.space, self.spec, self.dim = space, spec, dim
        self.positions = positions_of(space, spec.channels)
        self.costs: Costs = costs_of(space, spec, dim)
        # By how many of the widths are in use, the widest first.
        self._odds = {
            count: [_odds(position, space.widths[-count:]) for position in self.positions]
            for count in range(1, len(space.widths) + 1)
        }

    @property
    def count(self) -> float:
        """How many architectures there are."""
        return float(np.prod([float(len(position.genes)) for position in self.positions]))

    def spell(self, path: Sequence[int]) -> str:
        """The string of an architecture."""
        return spell(position.genes[index] for position, index in zip(self.positions, path, strict=True))

    def read(self, text: str) -> Path:
        """The architecture of a string.

        Raises:
            ConfigError: it is not in the space.
        """
        genes = parse(text, self.positions)
        return tuple(position.genes.index(gene) for position, gene in zip(self.positions, genes, strict=True))

    def draw(self, random: np.random.Generator, count: int, widths: int | None = None) -> Draws:
        """Draw architectures, ``(count, positions)``.

        Args:
            random: what is drawn from.
            count: how many.
            widths: only that many of the widths, the widest first; None is all.
        """
        odds = self._odds[len(self.space.widths) if widths is None else widths]
        columns = [random.choice(len(one), size=count, p=one) for one in odds]
        return np.stack(columns, axis=1).astype(np.int64)

    def mutated(self, path: Path, random: np.random.Generator, probability: float) -> Path:
        """Each gene drawn anew with some probability."""
        drawn, kept = self.draw(random, 1)[0], random.random(len(path)) >= probability
        return tuple(int(old if keep else new) for old, new, keep in zip(path, drawn, kept, strict=True))

    def crossed(self, first: Path, second: Path, random: np.random.Generator) -> Path:
        """Each gene from one of two parents."""
        chosen = random.random(len(first)) < 0.5
        return tuple(one if take else other for one, other, take in zip(first, second, chosen, strict=True))

    def usable(self, widths: int | None = None) -> list[NDArray[np.bool_]]:
        """Which genes of each position may be drawn with so many of the widths in use; None is all."""
        return [odds > 0 for odds in self._odds[len(self.space.widths) if widths is None else widths]]

    def repaired(
        self,
        path: Path,
        budget: Budget,
        random: np.random.Generator,
        *,
        widths: int | None = None,
        keep: int | None = None,
    ) -> Path | None:
        """Make genes cheaper, one drawn position after the other, until the budget is kept; None if it is not.

        Args:
            path: the architecture.
            budget: what it has to keep.
            random: what is drawn from.
            widths: only that many of the widths, the widest first; None is all.
            keep: a position whose gene stays.
        """
        genes, usable = list(path), self.usable(widths)
        for _ in range(REPAIRS):
            costs = self.costs.of([tuple(genes)])[0]
            if budget.allows(costs):
                return tuple(genes)
            kind = int(np.nanargmax(costs / budget.limits))  # what is exceeded most
            cheaper = [
                np.flatnonzero((table[:, kind] < table[gene, kind]) & may)
                for table, gene, may in zip(self.costs.genes, genes, usable, strict=True)
            ]
            places = [place for place, found in enumerate(cheaper) if len(found) and place != keep]
            if not places:
                return None
            place = int(random.choice(places))
            genes[place] = int(random.choice(cheaper[place]))
        return None

    def within(self, budget: Budget, random: np.random.Generator) -> Path:
        """Draw an architecture that keeps the budget.

        Raises:
            UsageError: none was found; with several limits at once there may be none.
        """
        for _ in range(DRAWS):
            found = self.repaired(tuple(self.draw(random, 1)[0].tolist()), budget, random)
            if found is not None:
                return found
        limits = budget.model_dump(exclude_none=True)
        alone = dict(zip(KINDS, self.costs.smallest(), strict=True))
        raise UsageError(
            "no architecture was found that keeps all of the budget",
            observed=f"{DRAWS} drawn and repaired",
            expected=", ".join(f"{kind} ≤ {limit:g}" for kind, limit in limits.items()),
            hint="Raise one of the limits. The smallest of each alone: "
            f"{', '.join(shown(kind, alone[kind]) for kind in limits)}.",
        )


def _odds(position: Position, widths: Sequence[int]) -> NDArray[np.float64]:
    """How probable each gene is: evenly by choice, then by width."""
    usable = [gene.width is None or gene.width in widths for gene in position.genes]
    share = dict.fromkeys((gene.choice for gene in position.genes), 0)
    for gene, used in zip(position.genes, usable, strict=True):
        share[gene.choice] += used
    odds = [used / share[gene.choice] for gene, used in zip(position.genes, usable, strict=True)]
    return np.array(odds) / len(share)
