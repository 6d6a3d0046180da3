from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from hetsearch.models.search_space import SearchSpace
from hetsearch.nas.config import EvolutionConfig, ParetoConfig
from hetsearch.nas.costs import MACS, Budget, Path
from hetsearch.nas.pareto import front_of, pareto_search
from hetsearch.nas.paths import Paths
from hetsearch.nas.search import Found, draw_all, evolve
from hetsearch.preprocess import InputSpec

LARGE = Paths(SearchSpace(), InputSpec(), 16)
SMALL = EvolutionConfig(population=12, generations=6, parents=4, mutants=5, crossed=5, mutation=0.2)


class Toy:
    """A reward that is a sum over genes, known for each architecture without a network."""

    def __init__(self, paths: Paths) -> None:
        random = np.random.default_rng(5)
        self.paths, self.asked = paths, list[str]()
        self.worth = [random.random(len(position.genes)) for position in paths.positions]

    def of(self, path: Path) -> float:
        return float(sum(table[gene] for table, gene in zip(self.worth, path, strict=True)))

    def __call__(self, names: Sequence[str]) -> list[float]:
        self.asked += names
        return [self.of(self.paths.read(name)) for name in names]


def everything(paths: Paths) -> list[Path]:
    return list(itertools.product(*(range(len(position.genes)) for position in paths.positions)))


def test_evolution_beats_chance_at_the_same_cost_and_keeps_the_budget() -> None:
    budget, gains = Budget(macs=3e6), []
    for seed in range(4):
        toy = Toy(LARGE)
        evolved = evolve(LARGE, budget, toy, SMALL, seed=seed)
        drawn = draw_all(LARGE, budget, toy, SMALL, seed=seed)
        assert len(evolved.rewards) == len(drawn.rewards) == 72
        assert budget.allows(LARGE.costs.of(list(evolved.rewards) + list(drawn.rewards))).all()
        assert len(evolved.history) == 6
        assert evolved.history == sorted(evolved.history)
        assert evolved.history[-1] == max(evolved.rewards.values())
        gains.append(evolved.history[-1] - drawn.history[-1])
    assert np.mean(gains) > 0.2


def test_the_same_seed_finds_the_same() -> None:
    budget = Budget(macs=3e6)
    first, again, other = (evolve(LARGE, budget, Toy(LARGE), SMALL, seed=seed) for seed in (0, 0, 1))
    assert list(first.rewards) == list(again.rewards)
    assert first.best(LARGE, 3) == again.best(LARGE, 3)
    assert list(first.rewards) != list(other.rewards)


def test_a_small_space_is_searched_whole_and_once(paths: Paths) -> None:
    toy = Toy(paths)
    found = evolve(paths, Budget(macs=1e9), toy, EvolutionConfig(population=20, generations=30, mutation=0.5), seed=0)
    assert len(toy.asked) == len(set(toy.asked))
    best = max(everything(paths), key=toy.of)
    assert found.best(paths, 1) == [best]
    assert len(found.rewards) > 0.9 * paths.count


def test_of_two_equals_the_cheaper_is_better(paths: Paths) -> None:
    found = Found(dict.fromkeys(everything(paths), 0.5))
    cheapest = found.best(paths, 1)[0]
    assert paths.costs.of([cheapest])[0, MACS] == paths.costs.smallest()[MACS]


def test_nsga2_finds_the_front_of_a_small_space(paths: Paths) -> None:
    toy, budget = Toy(paths), Budget(macs=1e9)
    found = pareto_search(paths, budget, toy, ParetoConfig(population=12, generations=12, mutation=0.3), seed=0)
    rows = {path: (paths.costs.of([path])[0, MACS], toy.of(path)) for path in everything(paths)}
    front = {
        path
        for path, (macs, reward) in rows.items()
        if not any((m <= macs and r >= reward) and (m < macs or r > reward) for m, r in rows.values())
    }
    assert set(front_of(paths, found)) >= front or len(front & set(front_of(paths, found))) >= 0.8 * len(front)
    macs = [rows[path][0] for path in front_of(paths, found)]
    assert macs == sorted(macs)


def test_nsga2_keeps_the_budget_and_the_seed() -> None:
    budget, config = Budget(macs=2e6, params=8e4), ParetoConfig(population=8, generations=3)
    first, again = (pareto_search(LARGE, budget, Toy(LARGE), config, seed=4) for _ in range(2))
    assert list(first.rewards) == list(again.rewards)
    assert budget.allows(LARGE.costs.of(list(first.rewards))).all()


class Spied:
    """Paths whose mutations and crossings are counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mutations, self.crossings = list[float](), 0
        mutated, crossed = Paths.mutated, Paths.crossed

        def count_mutation(paths: Paths, path: Path, random: np.random.Generator, probability: float) -> Path:
            self.mutations.append(probability)
            return mutated(paths, path, random, probability)

        def count_crossing(paths: Paths, first: Path, second: Path, random: np.random.Generator) -> Path:
            self.crossings += 1
            return crossed(paths, first, second, random)

        monkeypatch.setattr(Paths, "mutated", count_mutation)
        monkeypatch.setattr(Paths, "crossed", count_crossing)


def test_children_are_mutated_and_crossed_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    spied = Spied(monkeypatch)
    evolve(LARGE, Budget(macs=3e6), Toy(LARGE), SMALL, seed=0)
    assert set(spied.mutations) == {SMALL.mutation}
    generations = SMALL.generations - 1  # the first is drawn
    assert len(spied.mutations) >= generations * SMALL.mutants  # some are made again, being known already
    assert spied.crossings >= generations * SMALL.crossed


def test_chance_has_no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    spied = Spied(monkeypatch)
    draw_all(LARGE, Budget(macs=3e6), Toy(LARGE), SMALL, seed=0)
    assert not spied.mutations
    assert not spied.crossings
