from __future__ import annotations

import math

import numpy as np
import pytest

from hetsearch.errors import DataError, UsageError
from hetsearch.metrics import Items, best_scores, tpir_at_fpir
from tests.metrics.worlds import world

FPIRS = [0.05, 0.1, 0.3, 0.5, 0.9]


def brute(positive, negative, non_mated, fpir):
    """The best rate over every threshold that could make a difference."""
    best = None
    for threshold in sorted({*positive, *non_mated}):
        if sum(score > threshold for score in non_mated) / len(non_mated) <= fpir:
            hits = sum(p > n and p > threshold for p, n in zip(positive, negative, strict=True))
            best = max(best or 0.0, hits / len(positive))
    return best


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_best_scores_are_those_of_the_brute_force_ranking(seed):
    made = world(seed)
    best = best_scores(made.query, made.gallery)
    for row, ranking in enumerate(made.rankings()):
        positive = max((score for score, _, right in ranking if right), default=-math.inf)
        negative = max((score for score, _, right in ranking if not right), default=-math.inf)
        assert best.positive[row] == pytest.approx(positive, abs=1e-9)
        assert best.negative[row] == pytest.approx(negative, abs=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_agrees_with_brute_force_over_thresholds(seed):
    made = world(seed)
    # Two of the classes are not enrolled, so their queries are the non-mated probes.
    known = np.flatnonzero(~np.isin(made.gallery.labels, ["owl", "yak"]))
    g = made.gallery
    enrolled = Items(g.vectors[known], g.labels[known], g.keys[known], g.groups[known])
    best = best_scores(made.query, enrolled)
    mated = np.isfinite(best.positive)
    positive, negative, non_mated = best.positive[mated], best.negative[mated], best.negative[~mated]
    assert len(non_mated) >= 20
    for fpir, point in zip(FPIRS, tpir_at_fpir(positive, negative, non_mated, FPIRS), strict=True):
        assert point.tpir == pytest.approx(brute(positive, negative, non_mated, fpir), abs=1e-9)
        assert point.fpir == np.mean(non_mated > point.threshold) <= fpir


def test_ties_agree_with_brute_force_too():
    rng = np.random.default_rng(20)
    for _ in range(20):
        positive, negative, non_mated = (rng.integers(-3, 4, n) / 3 for n in (25, 25, 40))
        for fpir, point in zip(FPIRS, tpir_at_fpir(positive, negative, non_mated, FPIRS), strict=True):
            assert point.tpir == pytest.approx(brute(positive, negative, non_mated, fpir), abs=1e-12)
            assert point.fpir <= fpir


def test_both_comparisons_are_strict():
    non_mated = np.array([0.9, 0.5])
    cases = [(0.5, 0.1), (0.6, 0.6), (0.6, 0.7), (0.6, 0.1), (0.51, -math.inf)]
    positive, negative = np.array(cases).T
    (point,) = tpir_at_fpir(positive, negative, non_mated, [0.5])
    assert point == (0.5, 0.5, 2 / 5)


def test_what_cannot_be_said_is_none():
    scores = np.array([0.5, 0.6])
    assert tpir_at_fpir(scores, scores, scores, [0.49]) == [None]
    assert tpir_at_fpir(scores, scores, np.empty(0), [0.5]) == [None]
    assert tpir_at_fpir(np.empty(0), np.empty(0), scores, [0.5]) == [None]


def test_nothing_enrolled_leaves_nothing():
    best = best_scores(Items(np.eye(2), ["a", "b"]), Items(np.zeros((0, 2)), []))
    assert [side.tolist() for side in best] == [[-math.inf] * 2] * 2


def test_bad_input_is_refused():
    good = np.array([0.1, 0.2])
    with pytest.raises(DataError, match=r"scores of mated probes are wrong: .*1 not finite"):
        tpir_at_fpir(np.array([0.1, -np.inf]), good, good, [0.5])
    with pytest.raises(DataError, match="scores of non-mated probes are wrong"):
        tpir_at_fpir(good, good, np.array([np.nan]), [0.5])
    for negative in (good[:1], np.array([0.1, np.nan]), np.array([0.1, np.inf])):
        with pytest.raises(DataError, match="best negatives of mated probes are wrong"):
            tpir_at_fpir(good, negative, good, [0.5])
    with pytest.raises(UsageError, match="share of false accepts is wrong: observed 0"):
        tpir_at_fpir(good, good, good, [0])
