from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import DataError
from hetsearch.metrics import (
    Items,
    Judged,
    average_precision,
    packing,
    ranked_judgements,
    ranked_relevance,
    revisited_protocols,
    trapezoidal_average_precision,
)


def unit(rng, n):
    vectors = rng.integers(-2, 3, (n, 3)) + np.array([0.5, 0.0, 0.0])  # many of them equal
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def relevance_of(query, gallery, judged):
    return np.concatenate([rows for _, rows in ranked_judgements(query, gallery, judged)])


def benchmark_ranks(query, gallery, positives, junk):
    """Ranks of the positives of one query, from 0, as the benchmark counts them: less the junk before each."""
    scores = [round(sum(a * b for a, b in zip(query, item, strict=True)), 9) for item in gallery]
    order = sorted(range(len(gallery)), key=lambda row: (-scores[row], row))
    at = [rank for rank, row in enumerate(order) if row in positives]
    return [rank - sum(row in junk for row in order[:rank]) for rank in at]


@pytest.fixture
def benchmark():
    """Queries, gallery, and three lists of items that do not overlap for each query; some are empty."""
    rng = np.random.default_rng(22)
    lists = [np.split(rng.permutation(40)[:15], sorted(rng.integers(0, 12, 2))) for _ in range(12)]
    lists[0] = [lists[0][0][:0], *lists[0][1:]]  # the first query has no easy item
    return unit(rng, 12), unit(rng, 40), *zip(*lists, strict=True)


@pytest.mark.parametrize("block", [1, 100, 1 << 20])
@pytest.mark.parametrize("name", ["easy", "medium", "hard"])
def test_ranks_are_those_of_the_benchmark(monkeypatch, benchmark, name, block):
    monkeypatch.setattr(packing, "_BLOCK", block)
    query, gallery, easy, hard, junk = benchmark
    judged = revisited_protocols(easy, hard, junk)[name]
    relevance = relevance_of(query, gallery, judged)
    expected = []
    for row in range(len(query)):
        ranks = benchmark_ranks(query[row], gallery, judged.positives[row], judged.junk[row])
        assert np.flatnonzero(relevance[row]).tolist() == ranks
        precisions = [((j / r if r else 1.0) + (j + 1) / (r + 1)) / 2 for j, r in enumerate(ranks)]
        expected.append(sum(precisions) / len(ranks) if ranks else np.nan)
    np.testing.assert_allclose(trapezoidal_average_precision(relevance), expected, rtol=0, atol=1e-9)


def test_the_three_protocols():
    protocols = revisited_protocols(easy=[[1, 2], []], hard=[[3], [4]], junk=[[0], np.array([5])])
    assert {name: (j.positives, j.junk) for name, j in protocols.items()} == {
        "easy": ([[1, 2], []], [[0, 3], [5, 4]]),
        "medium": ([[1, 2, 3], [4]], [[0], np.array([5])]),
        "hard": ([[3], [4]], [[0, 1, 2], [5]]),
    }


def test_a_query_without_positives_is_not_scored(benchmark):
    query, gallery, easy, hard, junk = benchmark
    rows = relevance_of(query, gallery, revisited_protocols(easy, hard, junk)["easy"])
    assert np.isnan(average_precision(rows)[0])


def test_labels_as_lists_give_the_same_ranking():
    rng = np.random.default_rng(23)
    vectors, labels = unit(rng, 30), rng.choice(["a", "b", "c"], 30)
    items = Items(vectors, labels, np.arange(30))
    positives = [[i for i in range(30) if i != q and labels[i] == labels[q]] for q in range(30)]
    judged = Judged(positives, junk=[[q] for q in range(30)])
    by_label = np.concatenate([rows for _, rows in ranked_relevance(items, items)])
    np.testing.assert_array_equal(relevance_of(vectors, vectors, judged), by_label)


def test_without_junk_and_without_queries():
    gallery = np.eye(3)
    assert relevance_of(gallery[:1], gallery, Judged([[0, 2]])).tolist() == [[True, False, True]]
    assert list(ranked_judgements(np.zeros((0, 3)), gallery, Judged([]))) == []


def test_bad_input_is_refused():
    gallery = np.eye(3)

    def rank(positives, junk=None):
        return list(ranked_judgements(gallery[:1], gallery, Judged(positives, junk)))

    with pytest.raises(DataError, match="positives and junk are not of the same queries: observed 1 and 2 lists"):
        rank([[0]], [[1], [2]])
    with pytest.raises(DataError, match="judgements do not match: observed 1 queries and 2 lists"):
        rank([[0], [1]])
    with pytest.raises(DataError, match="not in the gallery: observed row 3 for query 0, expected 0 to 2"):
        rank([[0, 3]])
    with pytest.raises(DataError, match="not in the gallery: observed row -1"):
        rank([[0]], [[-1]])
    with pytest.raises(DataError, match="an item is judged twice: observed row 1 for query 0"):
        rank([[0, 1]], [[1]])
    with pytest.raises(DataError, match="a list of judged items is wrong: observed float64"):
        rank([[0.5]])
    with pytest.raises(DataError, match="easy, hard and junk items are not of the same queries: observed 1, 2 and 1"):
        revisited_protocols([[0]], [[1], [2]], [[0]])
    with pytest.raises(DataError, match="beyond what unit vectors can have"):
        list(ranked_judgements(2 * gallery[:1], gallery, Judged([[0]])))
