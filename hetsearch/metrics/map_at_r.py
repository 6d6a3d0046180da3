"""MAP@R: average precision cut at R, the number of the query's positives.

Musgrave, Belongie, Lim: "A Metric Learning Reality Check" (ECCV 2020), section 3.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hetsearch.metrics.found import found_in


def average_precision_at_r(relevance: NDArray[np.bool_]) -> NDArray[np.float64]:
    """MAP@R of each query: the sum of the precisions at the relevant ranks 1 … R, over R.

    Args:
        relevance: ``(queries, items)``, each row the full ranking, best first.

    Returns:
        ``(queries,)``; NaN for a query without positives.

    >>> average_precision_at_r(np.array([[True, False, True], [False, False, True]])).tolist()
    [0.5, 0.0]
    """
    found = found_in(relevance)
    counted = np.where(found.ranks < found.positives[found.rows], found.precision, 0.0)
    total = np.bincount(found.rows, weights=counted, minlength=len(relevance))
    return np.where(found.positives > 0, total / np.maximum(found.positives, 1), np.nan)
