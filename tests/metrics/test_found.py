from __future__ import annotations

import numpy as np

from hetsearch.metrics.found import found_in


def test_agrees_with_a_loop_whatever_the_memory_order():
    rows = np.random.default_rng(14).random((9, 13)) < 0.4
    expected = [
        (row, rank, rows[row, : rank + 1].sum(), rows[row, : rank + 1].sum() / (rank + 1))
        for row in range(9)
        for rank in range(13)
        if rows[row, rank]
    ]
    for relevance in (rows, np.asfortranarray(rows)):
        found = found_in(relevance)
        assert list(zip(*found[:4], strict=True)) == expected
        assert found.positives.tolist() == rows.sum(axis=1).tolist()


def test_nothing_relevant():
    found = found_in(np.zeros((3, 4), dtype=bool))
    assert found.rows.shape == found.ranks.shape == found.precision.shape == (0,)
    assert found.positives.tolist() == [0, 0, 0]
