"""Flips: which queries does a new encoder break, and which does it mend?

Yan et al.: "Positive-Congruent Training: Towards Regression-Free Model Updates" (CVPR 2021), equation 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError


class Flips(NamedTuple):
    """Shares of all queries, 0 to 1."""

    negative: float  # right before, wrong now
    positive: float  # wrong before, right now


def flip_rates(before: NDArray[Any], now: NDArray[Any]) -> Flips:
    """Negative and positive flip rate between two encoders on the same queries.

    Args:
        before: ``(queries,)``, true (or 1) where the reference is right.
        now: ``(queries,)``, the same of the encoder in question.

    Returns:
        Both rates; ``positive - negative`` is the difference of the two accuracies. NaN without queries.

    Raises:
        DataError: different shapes, or values other than 0 and 1 (leave out queries without positives first).

    >>> flip_rates(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 1]))
    Flips(negative=0.25, positive=0.5)
    """
    before, now = np.asarray(before), np.asarray(now)
    if before.ndim != 1 or before.shape != now.shape:
        shapes = f"shapes {before.shape} and {now.shape}"
        raise DataError("flips need the same queries twice", observed=shapes)
    for side in (before, now):
        if not np.isin(side, (0, 1)).all():
            raise DataError("flips need right or wrong for each query", expected="true or false, 1 or 0")
    if not len(before):
        return Flips(float("nan"), float("nan"))
    before, now = before.astype(bool), now.astype(bool)
    return Flips(float(np.mean(before & ~now)), float(np.mean(~before & now)))
