"""Search among some ids by looking at every one of them: exact, whatever index a store has for the rest."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hetsearch.gallery.ids import Ids
from hetsearch.space import Vectors


def best_among(
    queries: Vectors, ids: Ids, k: int, vectors_of: Callable[[Ids], Vectors], *, step: int
) -> tuple[Ids, NDArray[np.float64]]:
    """The best of some ids by inner product, best first.

    Args:
        queries: ``(n, dim)``.
        ids: ``(m,)``, which to look at.
        k: how many to give.
        vectors_of: ``(b,)`` of the ids → their vectors, ``(b, dim)``, in their order.
        step: how many ids at once, which bounds the memory.

    Returns:
        Ids and scores in float64, ``(n, k)`` each; id -1 and score -inf where there are fewer.
    """
    names = np.full((len(queries), k), -1, dtype=np.int64)
    scores = np.full((len(queries), k), -np.inf)
    exact = queries.astype(np.float64)
    for start in range(0, len(ids), step):
        block = np.ascontiguousarray(ids[start : start + step])
        found = exact @ vectors_of(block).astype(np.float64).T
        scores = np.concatenate([scores, found], axis=1)
        names = np.concatenate([names, np.broadcast_to(block, found.shape)], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, names = (np.take_along_axis(values, order, axis=1) for values in (scores, names))
    return names, scores
