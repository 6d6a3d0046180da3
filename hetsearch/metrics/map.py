"""AP: precision at the rank of each relevant item, averaged over them. Its mean over queries is mAP."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hetsearch.metrics.found import found_in


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
    found = found_in(relevance)
    total = np.bincount(found.rows, weights=found.precision, minlength=len(relevance))
    return np.where(found.positives > 0, total / np.maximum(found.positives, 1), np.nan)
