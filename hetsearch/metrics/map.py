"""AP: precision at the rank of each relevant item, averaged over them. Its mean over queries is mAP."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def average_precision(relevance: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average precision of each query over its full ranking, uninterpolated.

    Args:
        relevance: ``(queries, items)``, each row the full ranking, best first. The denominator is the
            number of all relevant items.

    Returns:
        ``(queries,)``; NaN for a query without positives.

    >>> average_precision(np.array([[True, False, True], [False, False, False]])).round(4).tolist()
    [0.8333, nan]
    """
    positives = np.count_nonzero(relevance, axis=1)
    rows, ranks = np.nonzero(relevance)
    first = np.cumsum(positives) - positives
    found = np.arange(1, len(rows) + 1) - first[rows]  # relevant items up to and with this one
    total = np.bincount(rows, weights=found / (ranks + 1), minlength=len(relevance))
    return np.where(positives > 0, total / np.maximum(positives, 1), np.nan)
