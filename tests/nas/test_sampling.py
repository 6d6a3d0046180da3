from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hetsearch.config import load_config, validate
from hetsearch.errors import ConfigError
from hetsearch.models.search_space import SearchSpace
from hetsearch.nas.config import NasConfig
from hetsearch.nas.costs import MACS, Budget
from hetsearch.nas.paths import Paths
from hetsearch.nas.sampling import PathSampler, SamplingConfig
from hetsearch.preprocess import InputSpec

CONFIGS = Path(__file__).parents[2] / "configs" / "nas"
GENES = ("skip", "c3", "s3")


def test_the_path_is_a_function_of_seed_and_step(paths: Paths) -> None:
    budget = Budget(macs=1e9)
    first, again, other = (PathSampler(paths, SamplingConfig(), budget, seed) for seed in (0, 0, 1))
    drawn = [first.path(step, 40) for step in range(40)]
    assert [again.path(step, 40) for step in reversed(range(40))] == drawn[::-1]
    assert [other.path(step, 40) for step in range(40)] != drawn
    assert len(set(drawn)) > 10


def test_bins_of_macs_are_hit_evenly_and_within_the_budget(paths: Paths) -> None:
    every = paths.costs.of(paths.draw(np.random.default_rng(0), 500))[:, MACS]
    budget = Budget(macs=float(np.quantile(every, 0.8)))
    sampler = PathSampler(paths, SamplingConfig(bins=2, widths_from=0, widths_by=0), budget, 0)
    macs = np.array([paths.costs.of([paths.read(sampler.path(step, 300))])[0, MACS] for step in range(300)])
    assert macs.max() <= budget.macs
    assert np.mean(macs <= sampler.edges[1]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("budget", [Budget(macs=3.13e6), Budget(params=90_000), Budget(macs=3.13e6, params=9e4)])
def test_no_step_is_spent_on_what_the_search_will_never_look_at(budget: Budget) -> None:
    paths = Paths(SearchSpace(), InputSpec(), 128)
    sampler = PathSampler(paths, SamplingConfig(), budget, 0)
    costs = paths.costs.of([paths.read(sampler.path(step, 200)) for step in range(200)])
    assert budget.allows(costs).all()  # while the widest are alone, too
    later = np.digitize(costs[100:, MACS], sampler.edges[1:-1])
    assert len(np.unique(later)) >= 3  # few parameters are few MACs


def test_where_the_widest_are_all_too_dear_they_are_drawn_without_a_budget(paths: Paths) -> None:
    widest = paths.draw(np.random.default_rng(0), 500, widths=1)
    budget = Budget(macs=paths.costs.of(widest)[:, MACS].min() - 1)
    sampler = PathSampler(paths, SamplingConfig(widths_from=0.5, widths_by=0.5), budget, 0)
    warm = Counter(sampler.path(step, 1000) for step in range(500))
    # Two choices of three can be repaired to nothing cheaper; all are trained alike, not the cheapest alone.
    for place in (1, 3):
        names = Counter({gene: sum(n for name, n in warm.items() if name.split("-")[place] == gene) for gene in GENES})
        assert min(names.values()) > 100, names
    later = paths.costs.of([paths.read(sampler.path(step, 1000)) for step in range(500, 600)])
    assert budget.allows(later).all()


@pytest.mark.parametrize("name", ["fashion-mnist", "emoji"])
def test_every_choice_that_the_search_may_draw_is_trained(name: str) -> None:
    config = load_config(NasConfig, CONFIGS / f"{name}.yaml")
    paths = Paths(config.search_space, config.recipe.input, config.recipe.encoder.dim)
    sampler = PathSampler(paths, config.supernet.sampling, config.budget, 0)
    steps = 400
    trained = np.array([paths.read(sampler.path(step, steps)) for step in range(steps)])
    assert config.budget.allows(paths.costs.of(trained)).all()
    random = np.random.default_rng(0)
    searched = np.array([paths.within(config.budget, random) for _ in range(150)])
    for place, position in enumerate(paths.positions):
        choices = np.array([gene.choice for gene in position.genes])
        for choice in set(choices[searched[:, place]]):
            # A turn for each of 47 choices; the dearest fit only beside narrow ones, which are not there at first.
            assert (choices[trained[:, place]] == choice).sum() >= steps // 80, (place, choice)


def test_widths_join_one_at_a_time() -> None:
    config = validate(SamplingConfig, {"widths_from": 0.2, "widths_by": 0.6}, where="the test")

    paths = Paths(SearchSpace(widths=(50, 100, 200)), InputSpec(), 16)
    sampler = PathSampler(paths, config, Budget(macs=1e9), 0)
    assert [sampler.widths(step, 10) for step in range(10)] == [1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
    with pytest.raises(ConfigError, match="widths_from"):
        validate(SamplingConfig, {"widths_from": 0.7, "widths_by": 0.6}, where="the test")
