"""R-precision: precision at R, the number of the query's positives; recall at R is the same number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hetsearch.metrics.found import found_in


def r_precision(relevance: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The share of relevant items among the first R of each query, as trec_eval's ``Rprec``.

    Args:
        relevance: ``(queries, items)``, each row the full ranking, best first.

    Returns:
        ``(queries,)``; NaN for a query without positives (trec_eval and torchmetrics 1.9 give 0).

    >>> r_precision(np.array([[True, False, True], [False, False, True], [False, False, False]])).tolist()
    [0.5, 0.0, nan]
    """
    found = found_in(relevance)
    within = found.ranks < found.positives[found.rows]
    count = np.bincount(found.rows[within], minlength=len(relevance))
    return np.where(found.positives > 0, count / np.maximum(found.positives, 1), np.nan)
