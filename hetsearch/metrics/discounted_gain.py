"""nDCG: discounted gain of the relevant items, over that of the best possible ranking.

Järvelin, Kekäläinen: "Cumulated gain-based evaluation of IR techniques" (TOIS 2002), with the discount
log2(rank + 1), ranks from 1, of trec_eval and scikit-learn. Gains are 0 or 1, so that the linear and the
exponential form of the gain are the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import UsageError
from hetsearch.metrics.found import found_in


def ndcg(relevance: NDArray[np.bool_], k: int | None = None) -> NDArray[np.float64]:
    """nDCG of each query, over its full ranking or its first ``k`` items.

    Args:
        relevance: ``(queries, items)``, each row the full ranking, best first.
        k: at least 1; cuts the ranking and the best possible one, whose first min(k, R) items are relevant.

    Returns:
        ``(queries,)``; NaN for a query without positives, where scikit-learn's ``ndcg_score`` and trec_eval
        give 0. scikit-learn averages tied scores unless ``ignore_ties=True``; here ties are in key order.

    Raises:
        UsageError: ``k`` below 1.

    >>> rows = np.array([[True, False, True], [False, True, False]])
    >>> ndcg(rows).round(4).tolist(), ndcg(rows, k=1).tolist()
    ([0.9197, 0.6309], [1.0, 0.0])
    """
    if k is not None and k < 1:
        raise UsageError("the k of ndcg@k is wrong", observed=k, expected="at least 1")
    cut = relevance.shape[1] if k is None else min(k, relevance.shape[1])
    found = found_in(relevance)
    discount = 1 / np.log2(np.arange(2, relevance.shape[1] + 2))
    gained = np.where(found.ranks < cut, discount[found.ranks], 0.0)
    total = np.bincount(found.rows, weights=gained, minlength=len(relevance))
    best = np.append(0.0, np.cumsum(discount))[np.minimum(found.positives, cut)]
    return np.where(found.positives > 0, total / np.where(found.positives > 0, best, 1.0), np.nan)
