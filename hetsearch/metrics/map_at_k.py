"""mAP@k: average precision cut at k, as Google Landmarks v2 scores with k = 100.

Weyand et al.: "Google Landmarks Dataset v2" (CVPR 2020), mAP@100 of its retrieval task.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import UsageError
from hetsearch.metrics.found import found_in


def average_precision_at_k(relevance: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """AP@k of each query: the sum of the precisions at the relevant ranks 1 … k, over min(k, R).

    R is the number of the query's positives, so 1 can be reached whatever k is. Others divide the same sum by
    something else: trec_eval's ``map_cut_k`` by R (never 1 where R > k); torchmetrics 1.9 and, in its code,
    open-metric-learning 4.0 by the relevant items found within k, so that one hit at rank 1 and none after
    scores 1. torchmetrics besides counts no relevant item of a score at or below 0, which cosines have.

    Args:
        relevance: ``(queries, items)``, each row the full ranking, best first.
        k: at least 1; k of all items or more gives :func:`~hetsearch.metrics.average_precision`.

    Returns:
        ``(queries,)``; NaN for a query without positives.

    Raises:
        UsageError: ``k`` below 1.

    >>> rows = np.array([[True, False, True, True], [False, False, False, True]])
    >>> average_precision_at_k(rows, k=2).tolist()
    [0.5, 0.0]
    """
    if k < 1:
        raise UsageError("the k of map@k is wrong", observed=k, expected="at least 1")
    found = found_in(relevance)
    counted = np.where(found.ranks < k, found.precision, 0.0)
    total = np.bincount(found.rows, weights=counted, minlength=len(relevance))
    return np.where(found.positives > 0, total / np.clip(found.positives, 1, k), np.nan)
