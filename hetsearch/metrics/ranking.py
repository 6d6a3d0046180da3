"""The exact full ranking of a gallery for each query, in blocks of queries.

Order: score descending (inner product in float64, rounded to 9 decimals), then key ascending. An item whose
key is the query's own is left out by identity, never by dropping the first hit: a twin may come before it.
(trec_eval breaks ties by document id descending; MTEB's ``skip_first_result`` drops the first hit.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError, UsageError
from hetsearch.metrics.packing import EXCLUDED, Mark, Plan, places_of, scores_of

Column: TypeAlias = "Sequence[Any] | NDArray[Any]"


@dataclass(frozen=True)
class Items:
    """One side of a ranking.

    Attributes:
        vectors: ``(n, dim)``, any float type, unit rows.
        labels: ``(n,)``; an item is relevant for a query of the same label.
        keys: ``(n,)``; break ties, and equal keys on both sides exclude the item. None: ties go by position
            and nothing is excluded by key.
        groups: ``(n,)``; items of the query's group are excluded. An empty string is no group.
    """

    vectors: NDArray[Any]
    labels: Column
    keys: Column | None = None
    groups: Column | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "keys", "groups"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.vectors):
                raise DataError(
                    f"vectors and {name} do not match",
                    observed=f"{len(self.vectors)} vectors and {len(column)} {name}",
                    expected="as many of each",
                )

    def __len__(self) -> int:
        return len(self.vectors)


def ranked_relevance(query: Items, gallery: Items) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Yield, block by block, which positions of each query's full ranking hold a relevant item.

    Args:
        query: the queries.
        gallery: the items, keys unique.

    Yields:
        The rows of the block, and relevance ``(block, len(gallery))``, best first. Excluded items come last
        and are never relevant, so a row's sum is the number of the query's positives.

    Raises:
        DataError: keys repeat, columns of different kinds, or scores that unit vectors cannot have.

    >>> q = Items(np.array([[1.0, 0.0]]), labels=["cat"], keys=["a"])
    >>> vectors = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    >>> g = Items(vectors, labels=["cat", "dog", "cat"], keys=["a", "b", "c"])
    >>> [rows.tolist() for _, rows in ranked_relevance(q, g)]
    [[[False, True, False]]]
    """
    yield from plan_of(query, gallery).ranked()


def first_hits(
    query: Items, gallery: Items, k: int
) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield, block by block, the first ``k`` items of each query's ranking.

    Args:
        query: the queries.
        gallery: the items, keys unique.
        k: how many, at least 1; more than there are gives all.

    Yields:
        The rows of the block, row numbers of the gallery ``(block, min(k, len(gallery)))`` and their rounded
        scores. Where exclusion leaves fewer items, the row number is -1 and the score NaN.

    Raises:
        UsageError: ``k`` below 1.
        DataError: see :func:`ranked_relevance`.

    >>> q = Items(np.array([[1.0, 0.0]]), labels=["cat"])
    >>> g = Items(np.array([[0.6, 0.8], [1.0, 0.0]]), labels=["dog", "cat"])
    >>> [(order.tolist(), scores.tolist()) for _, order, scores in first_hits(q, g, k=2)]
    [([[1, 0]], [[1.0, 0.6]])]
    """
    if k < 1:
        raise UsageError("the number of hits is wrong", observed=k, expected="at least 1")
    plan = plan_of(query, gallery)
    # One more entry, so that the place -1 of an excluded item gives -1.
    rows = np.append(plan.order, -1)
    for block, packed in plan.blocks():
        if k < packed.shape[1]:
            packed = np.partition(packed, k - 1, axis=1)[:, :k]
        packed.sort(axis=1)
        yield block, rows[places_of(packed)], scores_of(packed)


def plan_of(query: Items, gallery: Items) -> Plan:
    """What is ranked, relevant and left out, by the labels, keys and groups of both sides.

    Raises:
        DataError: see :func:`ranked_relevance`.
    """
    order, own = _key_order(query, gallery)
    mark = _mark_by_columns(query, gallery, order, own)
    return Plan.of(query.vectors, gallery.vectors, order, mark)


def _mark_by_columns(query: Items, gallery: Items, order: NDArray[np.int64], own: NDArray[np.int64] | None) -> Mark:
    query_labels, gallery_labels = _codes(query.labels, gallery.labels, "labels")
    gallery_labels = gallery_labels[order]
    groups = _group_codes(query, gallery, order)

    def mark(packed: NDArray[np.int64], block: slice) -> None:
        packed += query_labels[block, None] == gallery_labels
        if own is not None:
            rows = np.flatnonzero(own[block] >= 0)
            packed[rows, own[block][rows]] = EXCLUDED
        if groups is not None:
            packed[groups[0][block, None] == groups[1]] = EXCLUDED

    return mark


def _group_codes(
    query: Items, gallery: Items, order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    if query.groups is None and gallery.groups is None:
        return None
    if query.groups is None or gallery.groups is None:
        raise DataError("only one side has groups", expected="groups of both sides, or of neither")
    query_groups, gallery_groups = _codes(query.groups, gallery.groups, "groups")
    # An item without a group is nobody's neighbour, not the neighbour of all others without one.
    query_groups[np.asarray(list(query.groups)).astype(str) == ""] = -1
    return query_groups, gallery_groups[order]


def _key_order(query: Items, gallery: Items) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    if gallery.keys is None:
        if query.keys is not None:
            raise DataError(
                "the queries have keys and the gallery has none",
                hint="Give both, so that a query's own image can be left out, or neither.",
            )
        return np.arange(len(gallery), dtype=np.int64), None
    if query.keys is None:
        query_codes, codes = None, _codes(gallery.keys[:0], gallery.keys, "keys")[1]
    else:
        query_codes, codes = _codes(query.keys, gallery.keys, "keys")
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    if len(twice := np.flatnonzero(ordered[1:] == ordered[:-1])):
        key = gallery.keys[int(order[twice[0]])]
        raise DataError("a key of the gallery comes twice", observed=f"'{key}'", expected="unique keys")
    if query_codes is None or not len(order):
        return order, None
    place = np.minimum(np.searchsorted(ordered, query_codes), len(order) - 1)
    return order, np.where(ordered[place] == query_codes, place, -1)


def _codes(query: Column, gallery: Column, what: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Both columns as the ranks of their values among all values, so that order and equality are kept."""
    sides = [np.asarray(list(column)) for column in (query, gallery)]
    kinds = {"number" if side.dtype.kind in "biuf" else side.dtype.kind for side in sides if len(side)}
    if len(kinds) > 1:
        # NumPy would turn numbers into text here, and 10 would come before 9.
        raise DataError(
            f"{what} of the queries and of the gallery are of different kinds",
            observed=" and ".join(str(side.dtype) for side in sides),
            expected="both text or both numbers",
        )
    filled = [side for side in sides if len(side)]
    if not filled:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    codes = np.unique(np.concatenate(filled), return_inverse=True)[1].astype(np.int64)
    return codes[: len(sides[0])], codes[len(sides[0]) :]
