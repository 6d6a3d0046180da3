from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hetsearch.errors import ConfigError, UsageError
from hetsearch.nas.costs import MACS, Budget
from hetsearch.nas.paths import Paths


def test_strings_and_numbers_are_the_same_architectures(paths: Paths) -> None:
    for path in paths.draw(np.random.default_rng(0), 20).tolist():
        assert paths.read(paths.spell(path)) == tuple(path)
    with pytest.raises(ConfigError, match="gene 2"):
        paths.read("c3-c9-c3-c3")
    assert paths.count == 1 * 4 * 3 * 4


def test_choices_are_drawn_evenly_and_then_widths(paths: Paths) -> None:
    drawn = paths.draw(np.random.default_rng(1), 6000)
    names = Counter(str(paths.positions[1].genes[gene]) for gene in drawn[:, 1])
    assert names.keys() == {"skip", "c3", "s3w50", "s3"}
    for name, share in {"skip": 1 / 3, "c3": 1 / 3, "s3w50": 1 / 6, "s3": 1 / 6}.items():
        assert names[name] / 6000 == pytest.approx(share, abs=0.03)
    widest = paths.draw(np.random.default_rng(1), 500, widths=1)
    assert {str(paths.positions[1].genes[gene]) for gene in widest[:, 1]} == {"skip", "c3", "s3"}


def test_children_have_the_genes_of_their_parents(paths: Paths) -> None:
    random = np.random.default_rng(2)
    first, second = paths.read("c3-skip-c3-c3"), paths.read("c3-s3-s3w50-skip")
    assert paths.mutated(first, random, 1e-9) == first
    assert any(paths.mutated(first, random, 1.0) != first for _ in range(5))
    children = {paths.crossed(first, second, random) for _ in range(60)}
    assert len(children) == 8  # every mixture of three places that differ
    assert all(gene in pair for child in children for gene, *pair in zip(child, first, second, strict=True))


def test_a_repaired_architecture_keeps_the_budget_and_what_it_can(paths: Paths) -> None:
    random = np.random.default_rng(3)
    budget = Budget(macs=float(np.median(paths.costs.of(paths.draw(random, 200))[:, MACS])))
    for path in paths.draw(random, 50).tolist():
        path = tuple(path)
        repaired = paths.repaired(path, budget, random)
        assert repaired is not None
        assert budget.allows(paths.costs.of([repaired])[0])
        if budget.allows(paths.costs.of([path])[0]):
            assert repaired == path
    least = Budget(macs=paths.costs.smallest()[MACS])
    assert paths.costs.of([paths.within(least, random)])[0, MACS] == least.macs


def test_limits_that_exclude_one_another_end(paths: Paths) -> None:
    # Each can be kept alone: what has the fewest parameters has not the fewest MACs in a space made for it.
    costs = paths.costs
    genes = tuple(table.copy() for table in costs.genes)
    genes[1][:, 1] = genes[1][:, MACS].max() - genes[1][:, MACS]
    paths.costs = type(costs)(costs.fixed, genes)
    smallest = paths.costs.smallest()
    budget = Budget(macs=smallest[0], params=smallest[1])
    budget.check(paths.costs)
    told = r"keeps all of the budget.*macs ≤ .*params ≤ .*smallest of each alone: [\d,]+ MACs, [\d,]+ params"
    with pytest.raises(UsageError, match=told):
        paths.within(budget, np.random.default_rng(0))
