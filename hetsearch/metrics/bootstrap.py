"""Paired bootstrap over queries: how far would a mean, a difference or a ratio move with other queries?

The same draws serve every array of the same length (the seed is fixed), so whatever is compared is compared
on the same queries in each draw. Efron, Tibshirani: "An Introduction to the Bootstrap" (1993), percentile
intervals.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError

DRAWS = 1000
SEED = 20261122
LEVEL = 0.95
FEWEST = 10  # queries that a claim takes; the bootstrap of fewer says little, that of one is certain of anything
_BLOCK = 64  # draws held at once


def bootstrap_means(values: NDArray[Any], *, draws: int = DRAWS, seed: int = SEED) -> NDArray[np.float64]:
    """Mean of each column in each draw of queries, with replacement.

    Args:
        values: ``(queries, columns)``, finite; leave out queries without positives first.
        draws: how many.
        seed: of the draws; equal seeds and numbers of queries give equal draws.

    Returns:
        ``(draws, columns)``; all NaN where there is no query.

    Raises:
        DataError: wrong shape, or NaN or infinity among the values.

    >>> bootstrap_means(np.full((5, 1), 0.25), draws=3).tolist()
    [[0.25], [0.25], [0.25]]
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise DataError(
            "values of a bootstrap are wrong",
            observed=f"shape {values.shape}",
            expected="finite (queries, columns)",
        )
    queries = len(values)
    if not queries:
        return np.full((draws, values.shape[1]), np.nan)
    random = np.random.default_rng(seed)
    means = np.empty((draws, values.shape[1]))
    for start in range(0, draws, _BLOCK):
        stop = min(start + _BLOCK, draws)
        # How often each query was drawn: one matrix product then gives the sums of all columns.
        drawn = (random.integers(0, queries, queries) for _ in range(start, stop))
        counts = np.stack([np.bincount(rows, minlength=queries) for rows in drawn])
        means[start:stop] = counts.astype(np.float64) @ values / queries
    return means


def interval(samples: NDArray[np.float64], level: float = LEVEL) -> tuple[float, float]:
    """The central interval of ``samples`` ``(draws,)`` that holds ``level`` of them; NaN ends if any is NaN.

    >>> interval(np.arange(101.0), level=0.5)
    (25.0, 75.0)
    """
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(
    values: NDArray[Any], *, draws: int = DRAWS, seed: int = SEED, level: float = LEVEL
) -> tuple[float, float]:
    """Interval of the mean of ``values`` ``(queries,)``."""
    return interval(bootstrap_means(np.asarray(values)[:, None], draws=draws, seed=seed)[:, 0], level)


def difference_interval(
    first: NDArray[Any], second: NDArray[Any], *, draws: int = DRAWS, seed: int = SEED, level: float = LEVEL
) -> tuple[float, float]:
    """Interval of the mean of ``first - second``, both ``(queries,)``, of the same queries."""
    means = bootstrap_means(_pair(first, second), draws=draws, seed=seed)
    return interval(means[:, 0] - means[:, 1], level)


def ratio_interval(
    first: NDArray[Any], second: NDArray[Any], *, draws: int = DRAWS, seed: int = SEED, level: float = LEVEL
) -> tuple[float, float]:
    """Interval of ``mean(first) / mean(second)``, both ``(queries,)``, of the same queries.

    Returns:
        The ends; both NaN if the mean of ``second`` is 0 in any draw, for the ratio is undefined there.
    """
    means = bootstrap_means(_pair(first, second), draws=draws, seed=seed)
    below = np.where(means[:, 1] == 0, np.nan, means[:, 1])
    return interval(means[:, 0] / below, level)


def _pair(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(
            "paired values are not of the same queries",
            observed=f"shapes {first.shape} and {second.shape}",
            expected="(queries,) twice",
        )
    return np.stack([first, second], axis=1)
