from __future__ import annotations

import itertools

import numpy as np
import pytest

from hetsearch.config import validate
from hetsearch.errors import ConfigError, UsageError
from hetsearch.models.cost import count_macs, count_params
from hetsearch.models.network import build_network
from hetsearch.nas.costs import KINDS, MACS, Budget, as_dict, costs_of
from hetsearch.nas.paths import Paths
from tests.models.test_search_space import IMAGENET, spec_of


def everything(paths: Paths) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(len(position.genes)) for position in paths.positions)))


def test_the_sum_over_genes_is_the_cost_of_the_network(paths: Paths) -> None:
    for path in everything(paths)[::7]:
        arguments = {"arch": paths.spell(path), "search_space": paths.space.model_dump()}
        network = build_network("choice", arguments, dim=paths.dim, spec=paths.spec)
        macs, params = count_macs(network), count_params(network)
        assert as_dict(paths.costs.of([path])[0]) == {"macs": macs, "params": params, "bytes": 4 * params}


def test_the_smallest_and_the_largest(paths: Paths) -> None:
    rows = paths.costs.of(everything(paths))
    np.testing.assert_array_equal(paths.costs.smallest()[:3], rows[:, :3].min(axis=0))
    np.testing.assert_array_equal(paths.costs.largest()[:3], rows[:, :3].max(axis=0))


def test_spos_spans_what_was_computed_of_it() -> None:
    # What a counter over SPOS's own code gave.
    costs = costs_of(IMAGENET.model_copy(update={"widths": (100,)}), spec_of(224, 3), 1000)
    same = [(choice,) * 20 for choice in range(4)]  # 3 × 3, 5 × 5, 7 × 7, Xception everywhere
    np.testing.assert_allclose(costs.of(same)[:, MACS], [295.8e6, 313.7e6, 340.4e6, 358.8e6], rtol=1e-3)


@pytest.mark.parametrize("kind", ["macs", "params", "bytes"])
def test_a_budget_that_nothing_keeps_names_the_smallest(paths: Paths, kind: str) -> None:
    least = paths.costs.smallest()[KINDS.index(kind)]
    Budget(**{kind: least}).check(paths.costs)
    with pytest.raises(UsageError, match=f"keeps the budget of {kind}.*at least {least:,.0f}"):
        Budget(**{kind: least - 1}).check(paths.costs)


def test_a_budget_limits_something() -> None:
    with pytest.raises(ConfigError, match="needs one of macs, params, bytes, latency_ms"):
        validate(Budget, {}, where="the test")
    budget = Budget(macs=10, params=5)
    rows = np.array([[10, 5, 99, np.nan], [11, 5, 99, np.nan], [10, 6, 99, np.nan]])
    assert budget.allows(rows).tolist() == [True, False, False]
