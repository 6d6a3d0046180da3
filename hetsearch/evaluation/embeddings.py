"""Retrieval numbers from arrays alone: no bundle, no images, no space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError
from hetsearch.evaluation.scores import score
from hetsearch.metrics import Items
from hetsearch.metrics.ranking import Column
from hetsearch.space import check_vectors


def evaluate_embeddings(
    query: NDArray[Any],
    gallery: NDArray[Any],
    query_labels: Column,
    gallery_labels: Column,
    query_keys: Column | None = None,
    gallery_keys: Column | None = None,
    ks: Sequence[int] = (1, 10),
    *,
    query_groups: Column | None = None,
    gallery_groups: Column | None = None,
    extra: Sequence[str] = (),
) -> dict[str, float | int]:
    """Rank the gallery for each query, exactly, and give the mean of each metric.

    Ranking is by inner product in float64, rounded to 9 decimals, descending, then by key ascending (by
    position, where there are no keys). For leave-one-out give the same vectors, labels and keys twice: an
    item with the query's own key is left out.

    Args:
        query: ``(n, dim)``, unit rows.
        gallery: ``(m, dim)``, unit rows.
        query_labels: ``(n,)``; an item is relevant if its label is the query's.
        gallery_labels: ``(m,)``.
        query_keys: ``(n,)``.
        gallery_keys: ``(m,)``, unique.
        ks: the k of each ``r@k``: the share of queries with at least one relevant item among the first k.
        query_groups: ``(n,)``; items of the query's group are left out. An empty string is no group.
        gallery_groups: ``(m,)``.
        extra: more metrics: ``r-precision``, ``ndcg``, and with a number for k ``map@k`` and ``ndcg@k``.

    Returns:
        ``p@1``, ``r@k`` for each of ``ks``, ``map``, ``map@r`` and ``extra`` as fractions, NaN if no query has a
        positive;
        ``n_queries``, the queries that were scored; ``n_without_positives``, those that were skipped.

    Raises:
        DataError: vectors with another shape, NaN, or a length other than 1; columns that do not match them;
            keys that repeat in the gallery; groups of one side alone.
        UsageError: a k below 1, or an unknown metric in ``extra``.

    >>> vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> labels, keys = ["cat", "cat", "dog"], [0, 1, 2]
    >>> numbers = evaluate_embeddings(vectors, vectors, labels, labels, keys, keys)
    >>> numbers["map"], numbers["n_queries"], numbers["n_without_positives"]
    (1.0, 2, 1)
    """
    query, gallery = _vectors(query, "the query vectors"), _vectors(gallery, "the gallery vectors")
    check_vectors(gallery, gallery.shape[1], what="the gallery vectors")
    check_vectors(query, gallery.shape[1], what="the query vectors")
    asked = Items(query, query_labels, query_keys, query_groups)
    items = Items(gallery, gallery_labels, gallery_keys, gallery_groups)
    scores = score(asked, items, ks, extra)
    return {
        **scores.means(),
        "n_queries": scores.n_queries,
        "n_without_positives": scores.n_without_positives,
    }


def _vectors(vectors: NDArray[Any], what: str) -> NDArray[Any]:
    array = np.asarray(vectors)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DataError(
            f"{what} are no table of numbers", observed=f"{array.dtype} {array.shape}", expected="(n, dim)"
        )
    return array
