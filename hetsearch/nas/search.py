"""Search for the architecture with the highest reward under a budget: evolution, and chance at the same cost.

Evolution as in the release of "Single Path One-Shot Neural Architecture Search" (arXiv 1904.00420): children of the
best so far by mutation and by crossover, the rest drawn anew, nothing measured twice. Both searches are functions of
the seed and of the rewards alone; a search that was stopped starts again and finds its rewards on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from hetsearch.nas.config import EvolutionConfig
from hetsearch.nas.costs import MACS, Budget, Path
from hetsearch.nas.paths import Paths

TRIES = 10  # draws for each child that is wanted; a small space may not have so many architectures

Rewards = Callable[[Sequence[str]], list[float]]  # of architectures, by their strings


@dataclass
class Found:
    """What a search found.

    Attributes:
        rewards: of every architecture that was measured, in that order.
        history: the best reward after each generation.
    """

    rewards: dict[Path, float] = field(default_factory=dict)
    history: list[float] = field(default_factory=list)

    def measure(self, paths: Paths, population: Sequence[Path], rewards: Rewards) -> None:
        """Take in one generation."""
        values = rewards([paths.spell(path) for path in population])
        self.rewards.update(zip(population, values, strict=True))
        self.history.append(max(self.rewards.values()))

    def best(self, paths: Paths, count: int) -> list[Path]:
        """The best architectures; of two equals the cheaper."""
        macs = {path: float(paths.costs.of([path])[0, MACS]) for path in self.rewards}
        return sorted(self.rewards, key=lambda path: (-self.rewards[path], macs[path], path))[:count]


def evolve(paths: Paths, budget: Budget, rewards: Rewards, config: EvolutionConfig, *, seed: int) -> Found:
    """Evolution.

    Args:
        paths: the architectures.
        budget: what each has to keep.
        rewards: measures.
        config: sizes of population and children.
        seed: of every draw.

    Raises:
        UsageError: nothing was found that keeps the budget.
    """
    random = np.random.default_rng([seed, 1])
    found = Found()
    population = _new(paths, budget, random, config.population, found, [])
    for generation in range(config.generations):
        if generation:
            population = _children(paths, budget, random, config, found)
        if not population:
            break  # every architecture of a small space was measured
        found.measure(paths, population, rewards)
    return found


def draw_all(paths: Paths, budget: Budget, rewards: Rewards, config: EvolutionConfig, *, seed: int) -> Found:
    """As many architectures as the evolution measures, drawn by chance; arguments as of :func:`evolve`."""
    random = np.random.default_rng([seed, 2])
    found = Found()
    for _ in range(config.generations):
        population = _new(paths, budget, random, config.population, found, [])
        if not population:
            break
        found.measure(paths, population, rewards)
    return found


def _children(
    paths: Paths, budget: Budget, random: np.random.Generator, config: EvolutionConfig, found: Found
) -> list[Path]:
    parents = found.best(paths, config.parents)

    def parent() -> Path:
        return parents[int(random.integers(len(parents)))]

    def mutant() -> Path | None:
        return paths.repaired(paths.mutated(parent(), random, config.mutation), budget, random)

    def crossed() -> Path | None:
        return paths.repaired(paths.crossed(parent(), parent(), random), budget, random)

    children: list[Path] = []
    for make, count in ((mutant, config.mutants), (crossed, config.crossed)):
        children += _distinct(make, count, found, children)
    rest = config.population - len(children)
    return children + _new(paths, budget, random, rest, found, children)


def _new(
    paths: Paths,
    budget: Budget,
    random: np.random.Generator,
    count: int,
    found: Found,
    beside: Sequence[Path],
) -> list[Path]:
    return _distinct(lambda: paths.within(budget, random), count, found, beside)


def _distinct(
    make: Callable[[], Path | None], count: int, found: Found, beside: Sequence[Path]
) -> list[Path]:
    """Up to ``count`` architectures that are neither found nor beside."""
    made: list[Path] = []
    for _ in range(TRIES * count):
        if len(made) == count:
            break
        path = make()
        if path is not None and path not in found.rewards and path not in beside and path not in made:
            made.append(path)
    return made
