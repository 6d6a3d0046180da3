from __future__ import annotations

import numpy as np
import pytest

from hetsearch.metrics import average_precision, average_precision_at_r


def loop(row):
    positives = sum(row)
    total = sum(sum(row[: i + 1]) / (i + 1) for i in range(positives) if row[i])
    return total / positives if positives else float("nan")


@pytest.mark.parametrize("share", [0.02, 0.2, 0.9])
def test_agrees_with_a_loop(share):
    rows = np.random.default_rng(9).random((50, 40)) < share
    expected = [loop(row) for row in rows.astype(int).tolist()]
    np.testing.assert_allclose(average_precision_at_r(rows), expected, rtol=1e-12)


def test_by_hand():
    # R = 3: ranks 1 and 3 are right, the third relevant item lies behind R and gives nothing.
    rows = np.array([[1, 0, 1, 0, 0, 1]], dtype=bool)
    assert average_precision_at_r(rows)[0] == pytest.approx((1 / 1 + 2 / 3) / 3)


def test_never_above_average_precision():
    rows = np.random.default_rng(10).random((200, 30)) < 0.3
    assert (average_precision_at_r(rows) <= average_precision(rows) + 1e-12).all()


def test_empty_input():
    assert np.isnan(average_precision_at_r(np.zeros((2, 0), dtype=bool))).all()
    assert average_precision_at_r(np.zeros((0, 5), dtype=bool)).shape == (0,)
