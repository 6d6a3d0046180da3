from __future__ import annotations

import numpy as np

from hetsearch.metrics import average_precision_at_r, r_precision


def test_by_hand():
    rows = np.array([[1, 0, 1, 0, 1], [0, 0, 0, 0, 1], [1, 1, 0, 0, 0]], dtype=bool)
    np.testing.assert_allclose(r_precision(rows), [2 / 3, 0.0, 1.0])


def test_never_below_map_at_r():
    rows = np.random.default_rng(17).random((100, 20)) < 0.4
    assert (r_precision(rows) >= average_precision_at_r(rows) - 1e-12).all()


def test_empty_input():
    assert np.isnan(r_precision(np.zeros((2, 0), dtype=bool))).all()
    assert r_precision(np.zeros((0, 5), dtype=bool)).shape == (0,)
    assert np.isnan(r_precision(np.zeros((1, 5), dtype=bool))).all()
