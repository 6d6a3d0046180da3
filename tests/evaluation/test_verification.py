"""Counting in blocks against the metrics on all scores at once."""

from __future__ import annotations

import numpy as np
import pytest

from hetsearch.data.sides import Sides
from hetsearch.evaluation.result import FARS, FPIRS
from hetsearch.evaluation.verification import NO_PROBES, count_pairs, open_set_rows, verification_rows
from hetsearch.metrics import Items, best_scores, packing, pair_scores, tar_at_far, tpir_at_fpir


def items(seed, n, classes=5, decimals=15, keys=True, groups=False):
    """Unit vectors in few dimensions, negative scores among theirs; few decimals make ties."""
    rng = np.random.default_rng(seed)
    vectors = np.round(rng.normal(size=(n, 3)), decimals) + 1e-2
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    grouped = rng.integers(0, 9, n).astype(str) if groups else None
    return Items(vectors, rng.integers(0, classes, n), np.arange(n) if keys else None, grouped)


SHARES = [0.9, 0.5, 0.29, 0.1, 0.01, 1e-3, 1e-4, 1e-6]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("decimals", [0, 1, 15])
def test_the_same_thresholds_as_on_all_scores(seed, decimals, monkeypatch):
    monkeypatch.setattr(packing, "_BLOCK", 500)  # several blocks
    sides = items(seed, 60, decimals=decimals, groups=True), items(seed + 9, 75, decimals=decimals, groups=True)
    for query, gallery in (sides, (sides[0], sides[0])):
        scores = pair_scores(query, gallery)
        same, other, points = count_pairs(query, gallery, SHARES)
        assert (same, other) == (len(scores.positive), len(scores.negative))
        for point, expected in zip(points, tar_at_far(*scores, SHARES), strict=True):
            assert (point is None) == (expected is None)
            if point is not None:
                assert tuple(point) == pytest.approx(tuple(expected), abs=1e-12)
        assert points[-1] is None


def test_extreme_scores_stay_in_their_bins():
    ends = Items(np.array([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]), [0, 1, 1, 0])
    same, other, points = count_pairs(ends, ends, [0.5, 0.9])
    assert (same, other) == (8, 8)
    expected = tar_at_far(*pair_scores(ends, ends), [0.5, 0.9])
    assert [tuple(point) for point in points] == [tuple(point) for point in expected]


def test_nothing_to_count():
    alone = Items(np.eye(2), [0, 1], [0, 1])
    same = Items(np.eye(2), [0, 0], [0, 1])
    assert count_pairs(same, same, [0.5]) == (2, 0, [None])
    assert count_pairs(alone, alone, [0.5]) == (0, 2, [None])


def test_rows_of_the_report(make_images):
    labels = tuple("lonely " + str(row) if row < 20 else f"class {row % 4}" for row in range(80))
    images = make_images(80, labels=labels)
    sides = Sides.of(images)
    vectors = {name: items(seed, 80).vectors for seed, name in enumerate("qg")}
    (row,) = verification_rows([("q", "g")], vectors, sides)
    asked, held = sides.query(vectors["q"]), sides.gallery(vectors["g"])
    expected = tar_at_far(*pair_scores(asked, held), [float(far) for far in FARS])
    assert list(row.rates) == [f"tar@{far}" for far in FARS]
    assert list(row.rates.values()) == [point and point.tar for point in expected]
    assert row.rates["tar@1e-1"] is not None
    assert row.rates["tar@1e-6"] is None
    assert row.reasons["tar@1e-6"].endswith("pairs of two classes cannot show a rate of 1e-6")
    document = row.as_dict()
    assert (document["query"], document["tar@1e-1"]) == ("q", row.rates["tar@1e-1"])
    assert document["same_class_pairs"] + document["other_pairs"] == 80 * 79

    (row,) = open_set_rows([("q", "g")], vectors, sides)
    best = best_scores(asked, held)
    expected = tpir_at_fpir(best.positive[20:], best.negative[20:], best.negative[:20], [float(x) for x in FPIRS])
    assert list(row.rates.values()) == [point and point.tpir for point in expected]
    assert row.counts == {"mated_probes": 60, "non_mated_probes": 20}
    assert row.reasons["tpir@1e-2"] == "20 probes without a relevant item cannot show a rate of 1e-2"


def test_an_open_set_needs_probes_to_reject(make_images):
    sides = Sides.of(make_images(20))
    vectors = {"q": items(0, 20).vectors}
    (row,) = open_set_rows([("q", "q")], vectors, sides)
    assert set(row.rates.values()) == {None}
    assert set(row.reasons.values()) == {NO_PROBES}
