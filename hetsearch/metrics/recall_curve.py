"""R@k for k = 1, 2, … as one curve a query."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import UsageError


def recall_at_each_k(relevance: NDArray[np.bool_], k_max: int = 100) -> NDArray[np.float64]:
    """R@k of each query for k = 1 … ``k_max``; the mean over queries is the recall curve.

    Args:
        relevance: ``(queries, items)``, each row the full ranking, best first.
        k_max: length of the curve, at least 1; beyond the number of items it stays level.

    Returns:
        ``(queries, k_max)``, zeros and then ones; a row of NaN for a query without positives.

    Raises:
        UsageError: ``k_max`` below 1.

    >>> recall_at_each_k(np.array([[False, True, True]]), k_max=4).tolist()
    [[0.0, 1.0, 1.0, 1.0]]
    """
    if k_max < 1:
        raise UsageError("the length of the recall curve is wrong", observed=k_max, expected="at least 1")
    if not relevance.size:
        return np.full((len(relevance), k_max), np.nan)
    first = relevance.argmax(axis=1)
    curve: NDArray[np.float64] = (first[:, None] < np.arange(1, k_max + 1)).astype(np.float64)
    curve[~relevance.any(axis=1)] = np.nan
    return curve
