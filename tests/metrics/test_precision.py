from __future__ import annotations

import numpy as np

from hetsearch.metrics import precision_at_1


def test_only_the_first_hit_counts():
    rows = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 1]], dtype=bool)
    assert precision_at_1(rows).tolist() == [1.0, 0.0, 1.0]


def test_a_query_without_positives_is_nan():
    np.testing.assert_array_equal(precision_at_1(np.zeros((2, 3), dtype=bool)), [np.nan, np.nan])


def test_empty_input():
    np.testing.assert_array_equal(precision_at_1(np.zeros((1, 0), dtype=bool)), [np.nan])
    assert precision_at_1(np.zeros((0, 4), dtype=bool)).shape == (0,)
