"""Flips: which queries does a new encoder break, and which does it mend?

Yan et al.: "Positive-Congruent Training: Towards Regression-Free Model Updates" (CVPR 2021), equation 1.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError
from hetsearch.metrics.ranking import Column


class Flips(NamedTuple):
    """Shares of all queries, 0 to 1."""

    negative: float  # right before, wrong now
    positive: float  # wrong before, right now


class ClassFlips(NamedTuple):
    """Shares of one class's queries, 0 to 1, and the counts behind them."""

    negative: float  # broken / queries
    positive: float  # mended / queries
    queries: int
    broken: int
    mended: int


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
    before, now = _checked(before, now)
    if not len(before):
        return Flips(float("nan"), float("nan"))
    return Flips(float(np.mean(before & ~now)), float(np.mean(~before & now)))


def flip_rates_by_class(before: NDArray[Any], now: NDArray[Any], labels: Column) -> dict[Any, ClassFlips]:
    """Flips of each class apart: whose queries does the new encoder break?

    Args:
        before: ``(queries,)``, true (or 1) where the reference is right.
        now: ``(queries,)``, the same of the encoder in question.
        labels: ``(queries,)``, the class of each query.

    Returns:
        For each class, in order, the rates among its queries and what they are made of. The counts add up
        to those of all queries; the rates do so weighted by ``queries``.

    Raises:
        DataError: see :func:`flip_rates`; or not one label a query.

    >>> by_class = flip_rates_by_class(np.array([1, 1, 0]), np.array([1, 0, 1]), ["cat", "cat", "dog"])
    >>> by_class["cat"]
    ClassFlips(negative=0.5, positive=0.0, queries=2, broken=1, mended=0)
    """
    before, now = _checked(before, now)
    if len(labels) != len(before):
        observed = f"{len(before)} queries and {len(labels)} labels"
        raise DataError("queries and labels do not match", observed=observed, expected="as many of each")
    names, codes, queries = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    broken, mended = (np.bincount(codes[flip], minlength=len(names)) for flip in (before & ~now, ~before & now))
    return {
        name: ClassFlips(lost / n, won / n, n, lost, won)
        for name, n, lost, won in zip(
            names.tolist(), queries.tolist(), broken.tolist(), mended.tolist(), strict=True
        )
    }


def _checked(before: NDArray[Any], now: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    before, now = np.asarray(before), np.asarray(now)
    if before.ndim != 1 or before.shape != now.shape:
        shapes = f"shapes {before.shape} and {now.shape}"
        raise DataError("flips need the same queries twice", observed=shapes)
    for side in (before, now):
        if not np.isin(side, (0, 1)).all():
            raise DataError("flips need right or wrong for each query", expected="true or false, 1 or 0")
    return before.astype(bool), now.astype(bool)
