"""R@k: is there a relevant item among the first k? As in metric learning, of queries, not of items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import UsageError


def recall_at_k(relevance: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """1 for each query with at least one relevant item among the first ``k``, else 0.

    Args:
        relevance: ``(queries, items)``, each row the full ranking, best first.
        k: at least 1; more than there are items means all.

    Returns:
        ``(queries,)``; NaN for a query without positives.

    Raises:
        UsageError: ``k`` below 1.

    >>> recall_at_k(np.array([[False, True, False], [False, False, True]]), k=2).tolist()
    [1.0, 0.0]
    """
    if k < 1:
        raise UsageError("the k of r@k is wrong", observed=k, expected="at least 1")
    found = relevance[:, :k].any(axis=1).astype(np.float64)
    return np.where(relevance.any(axis=1), found, np.nan)
