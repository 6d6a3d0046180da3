"""The average precision of Oxford, Paris and their revisited forms: trapezoids under the precision-recall curve.

Philbin et al.: "Object retrieval with large vocabularies and fast spatial matching" (CVPR 2007); ``compute_ap``
in the code of Radenović et al.: "Revisiting Oxford and Paris" (CVPR 2018).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hetsearch.metrics.found import found_in


def trapezoidal_average_precision(relevance: NDArray[np.bool_]) -> NDArray[np.float64]:
    """For each relevant item the mean of the precisions just before and at its rank, over R.

    It is not AP, which takes the precision at the rank alone, and it is never larger: use it to compare with
    numbers published for these benchmarks, and :func:`~hetsearch.metrics.average_precision` otherwise. Before
    rank 1 the precision counts as 1.

    Args:
        relevance: ``(queries, items)``, each row the full ranking, best first, junk at the end.

    Returns:
        ``(queries,)``; NaN for a query without positives, which the benchmarks leave out too.

    >>> trapezoidal_average_precision(np.array([[True, False, True], [False, True, False]])).round(4).tolist()
    [0.7917, 0.25]
    """
    found = found_in(relevance)
    before = np.where(found.ranks > 0, (found.number - 1) / np.maximum(found.ranks, 1), 1.0)
    total = np.bincount(found.rows, weights=(before + found.precision) / 2, minlength=len(relevance))
    return np.where(found.positives > 0, total / np.maximum(found.positives, 1), np.nan)
