from __future__ import annotations

import numpy as np
import pytest

from hetsearch.config import validate
from hetsearch.errors import ConfigError
from hetsearch.models.search_space import SearchSpace
from hetsearch.nas.costs import MACS, Budget
from hetsearch.nas.paths import Paths
from hetsearch.nas.sampling import PathSampler, SamplingConfig
from hetsearch.preprocess import InputSpec


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


def test_where_the_widest_are_all_too_dear_the_nearest_is_trained(paths: Paths) -> None:
    widest = paths.costs.of(paths.draw(np.random.default_rng(0), 500, widths=1))[:, MACS]
    budget = Budget(macs=widest.min() - 1)
    sampler = PathSampler(paths, SamplingConfig(widths_from=0.5, widths_by=0.5), budget, 0)
    assert paths.costs.of([paths.read(sampler.path(0, 10))])[0, MACS] == widest.min()


def test_widths_join_one_at_a_time() -> None:
    config = validate(SamplingConfig, {"widths_from": 0.2, "widths_by": 0.6}, where="the test")

    paths = Paths(SearchSpace(widths=(50, 100, 200)), InputSpec(), 16)
    sampler = PathSampler(paths, config, Budget(macs=1e9), 0)
    assert [sampler.widths(step, 10) for step in range(10)] == [1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
    with pytest.raises(ConfigError, match="widths_from"):
        validate(SamplingConfig, {"widths_from": 0.7, "widths_by": 0.6}, where="the test")
