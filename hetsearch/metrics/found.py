"""The relevant items of ranked rows, one by one: what every average precision is summed from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Found(NamedTuple):
    """Relevant items in the order of rows and ranks, ``(relevant,)`` each, and how many each row has."""

    rows: NDArray[np.int64]
    ranks: NDArray[np.int64]  # from 0
    number: NDArray[np.int64]  # relevant items up to and with this rank
    precision: NDArray[np.float64]  # share of relevant items up to and with this rank
    positives: NDArray[np.int64]  # (queries,)


def found_in(relevance: NDArray[np.bool_]) -> Found:
    """Where the relevant items of ``relevance`` ``(queries, items)`` are, and the precision at each.

    >>> found = found_in(np.array([[True, False, True], [False, True, False]]))
    >>> found.ranks.tolist(), found.precision.round(2).tolist()
    ([0, 2, 1], [1.0, 0.67, 0.5])
    """
    positives = np.count_nonzero(relevance, axis=1).astype(np.int64)
    rows = np.repeat(np.arange(len(relevance)), positives)
    # One dimension, since NumPy finds the nonzero entries of a matrix several times more slowly.
    ranks = np.flatnonzero(np.ascontiguousarray(relevance).ravel()) - rows * relevance.shape[1]
    before = np.cumsum(positives) - positives
    number = np.arange(1, len(rows) + 1) - before[rows]
    return Found(rows, ranks, number, number / (ranks + 1), positives)
