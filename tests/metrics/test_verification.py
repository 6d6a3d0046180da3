from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from hetsearch.errors import DataError, UsageError
from hetsearch.metrics import Items, pair_scores, tar_at_far
from tests.metrics.worlds import world

FARS = [0.001, 0.01, 0.1, 0.29, 0.5, 0.99]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pairs_are_those_of_the_brute_force_ranking(seed):
    made = world(seed)
    pairs = pair_scores(made.query, made.gallery)
    hits = [hit for ranking in made.rankings() for hit in ranking]
    np.testing.assert_allclose(np.sort(pairs.positive), sorted(s for s, _, right in hits if right), atol=1e-9)
    np.testing.assert_allclose(np.sort(pairs.negative), sorted(s for s, _, right in hits if not right), atol=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scikit_learn_has_no_better_point_at_or_below_the_far(seed):
    made = world(seed)
    positive, negative = pair_scores(made.query, made.gallery)
    truth = np.repeat([1, 0], [len(positive), len(negative)])
    fpr, tpr, _ = roc_curve(truth, np.concatenate([positive, negative]), drop_intermediate=False)
    for far, point in zip(FARS, tar_at_far(positive, negative, FARS), strict=True):
        assert point.tar == pytest.approx(tpr[fpr <= far].max(), abs=1e-9)
        assert point.far <= far


def test_ties_never_break_the_promise():
    rng = np.random.default_rng(19)
    for _ in range(20):
        positive, negative = rng.integers(-3, 4, 30) / 3, rng.integers(-3, 4, 50) / 3
        for far, point in zip(FARS[2:], tar_at_far(positive, negative, FARS[2:]), strict=True):
            accepted = [score > point.threshold for score in negative]
            assert point.far == sum(accepted) / 50 <= far
            assert point.tar == sum(score > point.threshold for score in positive) / 30


def test_the_nearest_far_would_break_it():
    # Taken by the nearest FAR, as some code does, 0.3 would let 2 of 5 through; here it is 1 of 5.
    negative = np.array([0.9, 0.8, 0.3, 0.2, 0.1])
    fpr, _, _ = roc_curve([1, 0, 0, 0, 0, 0], [0.85, *negative], drop_intermediate=False)
    assert fpr[np.abs(fpr - 0.31).argmin()] > 0.31
    assert tar_at_far(np.array([0.85]), negative, [0.31]) == [(0.2, 0.8, 1.0)]


def test_what_cannot_be_said_is_none():
    scores = np.array([0.5, 0.6])
    assert tar_at_far(scores, scores, [0.4, 0.5])[0] is None
    assert tar_at_far(scores, scores, [0.4, 0.5])[1] is not None
    assert tar_at_far(scores, np.empty(0), [0.5]) == [None]
    assert tar_at_far(np.empty(0), scores, [0.5]) == [None]
    assert tar_at_far(scores, scores, []) == []


def test_no_items_give_no_pairs():
    some, none = Items(np.eye(2), ["a", "b"]), Items(np.zeros((0, 2)), [])
    for query, gallery in ((some, none), (none, some)):
        assert [len(side) for side in pair_scores(query, gallery)] == [0, 0]


def test_bad_input_is_refused():
    good = np.array([0.1, 0.2])
    with pytest.raises(DataError, match=r"scores of positive pairs are wrong: .*1 not finite"):
        tar_at_far(np.array([np.nan]), good, [0.5])
    with pytest.raises(DataError, match=r"scores of negative pairs are wrong: observed shape \(1, 2\)"):
        tar_at_far(good, good[None], [0.5])
    with pytest.raises(UsageError, match="share of false accepts is wrong: observed 1"):
        tar_at_far(good, good, [1])
