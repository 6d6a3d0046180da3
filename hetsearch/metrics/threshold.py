"""The threshold that lets through at most a given share of impostors: what both open-set metrics stand on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError, UsageError


def strict_threshold(impostors: NDArray[np.float64], share: float) -> float | None:
    """The lowest threshold that at most ``share`` of the impostors score above.

    It is one of the impostors' own scores. Whoever only equals it is rejected, so that impostors tied at the
    threshold are all kept out, and the share holds exactly.

    Args:
        impostors: ``(n,)``, finite scores.
        share: above 0 and below 1.

    Returns:
        The threshold; None where n · share < 1, since then one single impostor is already too many and the
        scores cannot show so small a share.

    Raises:
        UsageError: ``share`` of 0 or less, or of 1 or more.

    >>> strict_threshold(np.array([0.1, 0.2, 0.2, 0.9]), share=0.5)
    0.2
    >>> strict_threshold(np.array([0.1, 0.2, 0.2, 0.9]), share=0.2)
    """
    allowed = most_accepted(len(impostors), share)
    place = len(impostors) - 1 - allowed
    return float(np.partition(impostors, place)[place]) if allowed else None


def most_accepted(n: int, share: float) -> int:
    """The largest number k of ``n`` impostors with k / n ≤ ``share``; 0 where one is already too many.

    Raises:
        UsageError: ``share`` of 0 or less, or of 1 or more.

    >>> most_accepted(100, 0.29), most_accepted(99, 0.01)
    (29, 0)
    """
    if not 0 < share < 1:
        raise UsageError("the share of false accepts is wrong", observed=share, expected="above 0 and below 1")
    if not n:
        return 0
    # The product may miss a whole number by rounding: 100 * 0.29 is a little less than 29.
    most = int(n * share)
    most += (most + 1) / n <= share
    most -= most / n > share
    return most


def finite_scores(scores: NDArray[Any], whose: str) -> NDArray[np.float64]:
    """``scores`` as float64 ``(n,)``; DataError, naming ``whose`` they are, for any other shape, NaN or infinity."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not np.isfinite(scores).all():
        raise DataError(
            f"scores of {whose} are wrong",
            observed=f"shape {scores.shape}, {np.count_nonzero(~np.isfinite(scores))} not finite",
            expected="finite (n,)",
        )
    return scores
