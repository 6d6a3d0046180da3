"""MAP@R: average precision cut at R, the number of the query's positives.

Musgrave, Belongie, Lim: "A Metric Learning Reality Check" (ECCV 2020), section 3.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def average_precision_at_r(relevance: NDArray[np.bool_]) -> NDArray[np.float64]:
    """MAP@R of each query: the sum of the precisions at the relevant ranks 1 … R, over R.

    Args:
        relevance: ``(queries, items)``, each row the full ranking, best first.

    Returns:
        ``(queries,)``; NaN for a query without positives.

    >>> average_precision_at_r(np.array([[True, False, True], [False, False, True]])).tolist()
    [0.5, 0.0]
    """
    positives = np.count_nonzero(relevance, axis=1)
    rows, ranks = np.nonzero(relevance)
    first = np.cumsum(positives) - positives
    found = np.arange(1, len(rows) + 1) - first[rows]
    counted = np.where(ranks < positives[rows], found / (ranks + 1), 0.0)
    total = np.bincount(rows, weights=counted, minlength=len(relevance))
    return np.where(positives > 0, total / np.maximum(positives, 1), np.nan)
