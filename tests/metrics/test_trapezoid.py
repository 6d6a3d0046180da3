from __future__ import annotations

import numpy as np
import pytest

from hetsearch.metrics import average_precision, trapezoidal_average_precision


def test_by_hand():
    # Ranks 0 and 2 of two positives: (1 + 1)/2 and (1/2 + 2/3)/2, over 2.
    rows = np.array([[1, 0, 1]], dtype=bool)
    assert trapezoidal_average_precision(rows)[0] == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)


def test_it_is_not_average_precision_and_never_above_it():
    rows = np.random.default_rng(18).random((100, 20)) < 0.3
    rows = rows[rows.any(axis=1)]
    below = average_precision(rows) - trapezoidal_average_precision(rows)
    assert (below >= -1e-12).all()
    assert below.max() > 0.05


def test_empty_input():
    assert np.isnan(trapezoidal_average_precision(np.zeros((2, 0), dtype=bool))).all()
    assert trapezoidal_average_precision(np.zeros((0, 5), dtype=bool)).shape == (0,)
