from __future__ import annotations

import numpy as np
import pytest

from hetsearch.config import validate
from hetsearch.errors import ConfigError
from hetsearch.nas.costs import MACS, Budget
from hetsearch.nas.paths import Paths
from hetsearch.nas.sampling import PathSampler, SamplingConfig


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


def test_widths_join_one_at_a_time() -> None:
    space = validate(SamplingConfig, {"widths_from": 0.2, "widths_by": 0.6}, where="the test")

    class Three:
        class space:  # noqa: N801
            widths = (50, 100, 200)

        class costs:  # noqa: N801
            smallest = staticmethod(lambda: np.zeros(4))
            largest = staticmethod(lambda: np.ones(4))

    sampler = PathSampler(Three, space, Budget(macs=1), 0)  # type: ignore[arg-type]
    assert [sampler.widths(step, 10) for step in range(10)] == [1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
    with pytest.raises(ConfigError, match="widths_from"):
        validate(SamplingConfig, {"widths_from": 0.7, "widths_by": 0.6}, where="the test")


def test_where_no_path_fits_any_will_do(paths: Paths) -> None:
    sampler = PathSampler(paths, SamplingConfig(macs=(1, 2), bins=1), Budget(macs=1e9), 0)
    assert len({sampler.path(step, 10) for step in range(10)}) > 1
