from __future__ import annotations

import numpy as np
import pytest

from hetsearch.data.sides import Sides
from hetsearch.evaluation.matrix import Pair, matrix_rows, pairs_of, score_pairs
from hetsearch.evaluation.result import METRICS
from hetsearch.metrics import mean_interval


def test_cells_come_in_the_order_of_the_report():
    assert pairs_of("g", ["q1", "q2"], ["f1", "f2"], ["f2"]) == [
        ("g", "g", "paragon"),
        ("q1", "q1", "homogeneous"),
        ("q1", "g", "heterogeneous"),
        ("q2", "q2", "homogeneous"),
        ("q2", "g", "heterogeneous"),
        ("f1", "f1", "baseline"),
        ("f2", "f2", "baseline"),
        ("f2", "g", "control"),
    ]


def test_rows_hold_means_and_their_own_intervals(make_images):
    rng = np.random.default_rng(31)
    images = make_images(40)
    vectors = {name: rng.normal(size=(40, 5)) for name in "ab"}
    vectors = {name: rows / np.linalg.norm(rows, axis=1, keepdims=True) for name, rows in vectors.items()}
    pairs = [Pair("a", "a", "paragon"), Pair("b", "a", "heterogeneous")]
    scores = score_pairs(pairs, vectors, Sides.of(images))
    rows = matrix_rows(scores)
    assert [(row.query, row.gallery, row.kind) for row in rows] == pairs
    for row, pair in zip(rows, pairs, strict=True):
        assert tuple(row.metrics) == tuple(row.intervals) == METRICS
        for metric in METRICS:
            values = scores[pair].values[metric]
            assert row.metrics[metric] == values.mean()
            assert row.intervals[metric] == pytest.approx(mean_interval(values), abs=1e-12)
