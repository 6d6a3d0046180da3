from __future__ import annotations

import numpy as np
import pytest

from hetsearch.evaluation.scores import score
from hetsearch.metrics import Items


@pytest.fixture
def sides():
    rng = np.random.default_rng(30)
    vectors = rng.normal(size=(130, 6))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.array([*rng.integers(0, 5, 129), 99])  # the last has no partner
    return Items(vectors, labels, np.arange(130))


def test_queries_without_positives_leave_no_nan_behind(sides):
    scores = score(sides, sides)
    assert scores.n_without_positives == 1
    assert scores.scored.tolist() == list(range(129))
    assert scores.n_queries == 129
    for values in scores.values.values():
        assert values.shape == (129,)
        assert np.isfinite(values).all()


def test_the_curve_is_the_mean_recall(sides):
    scores = score(sides, sides, ks=(1, 7, 100))
    assert scores.curve.shape == (100,)
    assert (np.diff(scores.curve) >= 0).all()
    for k in (1, 7, 100):
        assert scores.curve[k - 1] == pytest.approx(scores.values[f"r@{k}"].mean())
    np.testing.assert_array_equal(scores.values["p@1"], scores.values["r@1"])


def test_the_curve_is_no_longer_than_the_gallery(sides):
    few = Items(sides.vectors[:8], sides.labels[:8], sides.keys[:8])
    assert score(sides, few).curve.shape == (8,)


def test_nothing_to_score():
    alone = Items(np.eye(2), ["a", "b"], ["x", "y"])
    scores = score(alone, alone)
    assert (scores.n_queries, scores.n_without_positives) == (0, 2)
    assert np.isnan(scores.curve).all()
    assert all(np.isnan(mean) for mean in scores.means().values())
