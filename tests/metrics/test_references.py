"""Every retrieval metric on two encoders' random embeddings against plain Python, scikit-learn and trec_eval."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
from sklearn.metrics import average_precision_score, ndcg_score

from hetsearch.metrics import (
    average_precision,
    average_precision_at_k,
    average_precision_at_r,
    ndcg,
    precision_at_1,
    r_precision,
    recall_at_each_k,
    recall_at_k,
    trapezoidal_average_precision,
)
from tests.metrics.worlds import world

SEEDS = [0, 1, 2]
KS = [1, 5, 10, 200]


def close(ours, expected):
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


@pytest.fixture(scope="module", params=SEEDS)
def both(request):
    """Relevance rows, and the brute force rankings of the same queries."""
    made = world(request.param)
    return made.relevance(), made.rankings()


def brute(metric, rankings):
    rows = [[relevant for _, _, relevant in ranking] for ranking in rankings]
    return [metric(row) if any(row) else math.nan for row in rows]


def precision(row, rank):
    return sum(row[:rank]) / rank


def test_the_world_has_what_makes_rankings_go_wrong(both):
    relevance, rankings = both
    assert not relevance.any(axis=1).all()  # queries without positives
    assert any(len({hit[0] for hit in ranking}) < len(ranking) for ranking in rankings)  # ties
    assert any(hit[2] and hit[0] < 0 for ranking in rankings for hit in ranking)  # positives below 0
    assert any(len(ranking) < len(rankings) - 1 for ranking in rankings)  # groups beside the own image
    for row, ranking in zip(relevance, rankings, strict=True):
        assert row.tolist() == [hit[2] for hit in ranking] + [False] * (len(row) - len(ranking))


def test_average_precisions_are_brute_force(both):
    relevance, rankings = both

    def total(row, k):
        return sum(precision(row, rank) for rank in range(1, min(k, len(row)) + 1) if row[rank - 1])

    close(average_precision(relevance), brute(lambda row: total(row, len(row)) / sum(row), rankings))
    close(average_precision_at_r(relevance), brute(lambda row: total(row, sum(row)) / sum(row), rankings))
    for k in KS:
        expected = brute(lambda row, k=k: total(row, k) / min(k, sum(row)), rankings)
        close(average_precision_at_k(relevance, k), expected)


def test_precisions_and_recalls_are_brute_force(both):
    relevance, rankings = both
    close(precision_at_1(relevance), brute(lambda row: precision(row, 1), rankings))
    close(r_precision(relevance), brute(lambda row: precision(row, sum(row)), rankings))
    curve = recall_at_each_k(relevance, max(KS))
    for k in KS:
        expected = brute(lambda row, k=k: float(any(row[:k])), rankings)
        close(recall_at_k(relevance, k), expected)
        close(curve[:, k - 1], expected)


def test_ndcg_is_brute_force(both):
    relevance, rankings = both

    def gain(row):
        return sum(1 / math.log2(rank + 1) for rank, relevant in enumerate(row, start=1) if relevant)

    for k in [*KS, None]:
        expected = brute(lambda row, k=k: gain(row[:k]) / gain(sorted(row, reverse=True)[:k]), rankings)
        close(ndcg(relevance, k), expected)


def test_trapezoids_are_brute_force(both):
    relevance, rankings = both

    def area(row):
        # As the benchmark's own code goes: over ranks from 0.
        total, found = 0.0, 0
        for rank, relevant in enumerate(row):
            if relevant:
                before = 1.0 if rank == 0 else found / rank
                found += 1
                total += (before + found / (rank + 1)) / 2
        return total / sum(row)

    close(trapezoidal_average_precision(relevance), brute(area, rankings))


def test_scikit_learn_agrees_where_ties_are_already_broken(both):
    relevance, rankings = both
    ranks = [-np.arange(len(ranking), dtype=float) for ranking in rankings]
    close(
        average_precision(relevance),
        brute_rows(rankings, lambda row, scores: average_precision_score(row, scores), ranks),
    )
    for k in (5, None):
        close(
            ndcg(relevance, k),
            brute_rows(rankings, lambda row, s, k=k: ndcg_score([row], [s], k=k, ignore_ties=True), ranks),
        )


def brute_rows(rankings, metric, scores):
    rows = [[hit[2] for hit in ranking] for ranking in rankings]
    return [metric(row, own) if any(row) else math.nan for row, own in zip(rows, scores, strict=True)]


def test_trec_eval_agrees_and_breaks_the_ties_itself(both):
    relevance, rankings = both
    # trec_eval breaks ties by document id descending, so the ids count down where the keys count up.
    run = {str(q): {f"{9999 - key}": score for score, key, _ in hits} for q, hits in enumerate(rankings)}
    judged = {str(q): {f"{9999 - key}": int(right) for _, key, right in hits} for q, hits in enumerate(rankings)}
    cuts = ",".join(map(str, KS))
    measures = {"map", "Rprec", "ndcg", f"map_cut.{cuts}", f"ndcg_cut.{cuts}", f"success.{cuts}"}
    found = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run)

    def theirs(name):
        values = [found[str(q)][name] for q in range(len(rankings))]
        return np.where(relevance.any(axis=1), values, np.nan)  # 0 for a query without positives

    close(average_precision(relevance), theirs("map"))
    close(r_precision(relevance), theirs("Rprec"))
    close(ndcg(relevance), theirs("ndcg"))
    positives = relevance.sum(axis=1)
    for k in KS:
        close(ndcg(relevance, k), theirs(f"ndcg_cut_{k}"))
        close(recall_at_k(relevance, k), theirs(f"success_{k}"))
        # The other denominator: all positives, however small k is.
        ours = average_precision_at_k(relevance, k) * np.minimum(k, positives) / np.maximum(positives, 1)
        close(ours, theirs(f"map_cut_{k}"))
