"""P@1: is the first hit right?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def precision_at_1(relevance: NDArray[np.bool_]) -> NDArray[np.float64]:
    """1 for each query whose first hit is relevant, else 0.

    Args:
        relevance: ``(queries, items)``, each row the full ranking, best first.

    Returns:
        ``(queries,)``; NaN for a query without positives.

    >>> precision_at_1(np.array([[True, False], [False, True], [False, False]])).tolist()
    [1.0, 0.0, nan]
    """
    first = relevance[:, :1].any(axis=1).astype(np.float64)
    return np.where(relevance.any(axis=1), first, np.nan)
