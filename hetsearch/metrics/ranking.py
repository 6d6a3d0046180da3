"""The exact full ranking of a gallery for each query, in blocks of queries.

Order: score descending (inner product in float64, rounded to 9 decimals), then key ascending. An item whose
key is the query's own is left out by identity, never by dropping the first hit: a twin may come before it.

Score, rank of the key and relevance share one 64-bit integer, so that a plain sort of integers, which NumPy
does with vector instructions, gives the whole order at once:

    bit 63 … 33   minus the rounded score, in units of 1e-9
    bit 32 … 1    position of the item in the order of the keys
    bit 0         1 if the item is relevant
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError, UsageError

Column: TypeAlias = "Sequence[Any] | NDArray[Any]"

_UNIT = 1e9  # scores are compared in steps of 1 / _UNIT
_SHIFT = 33
_LAST = np.iinfo(np.int64).max - 1  # sorts behind every real item, and its relevance bit is 0
_LARGEST_SCORE = 2**30 / _UNIT  # 1.07: unit vectors within their tolerance stay below it
_BLOCK = 1 << 20  # scores held at once: three arrays of 8 MB, and a single row of a larger gallery


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
    plan = _Plan.of(query, gallery)
    for block in plan.blocks():
        packed = plan.pack(block)
        packed.sort(axis=1)
        yield block, (packed & 1).astype(np.bool_)


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
    plan = _Plan.of(query, gallery)
    for block in plan.blocks():
        packed = plan.pack(block)
        if k < packed.shape[1]:
            packed = np.partition(packed, k - 1, axis=1)[:, :k]
        packed.sort(axis=1)
        gone = packed == _LAST
        rank = np.where(gone, 0, (packed >> 1) & 0xFFFFFFFF)
        order = np.where(gone, -1, plan.order[rank] if len(plan.order) else rank)
        yield block, order, np.where(gone, np.nan, -(packed >> _SHIFT) / _UNIT)


@dataclass(frozen=True)
class _Plan:
    """Both sides as numbers; the gallery in the order of its keys."""

    order: NDArray[np.int64]  # position in the order of the keys → row of the gallery
    query_vectors: NDArray[np.float64]
    gallery_vectors: NDArray[np.float64]
    query_labels: NDArray[np.int64]
    gallery_labels: NDArray[np.int64]
    own: NDArray[np.int64] | None  # position of the item with the query's key, or -1
    query_groups: NDArray[np.int64] | None
    gallery_groups: NDArray[np.int64] | None

    @classmethod
    def of(cls, query: Items, gallery: Items) -> _Plan:
        order, own = _key_order(query, gallery)
        query_labels, gallery_labels = _codes(query.labels, gallery.labels, "labels")
        query_groups = gallery_groups = None
        if (query.groups is None) != (gallery.groups is None):
            raise DataError("only one side has groups", expected="groups of both sides, or of neither")
        if query.groups is not None and gallery.groups is not None:
            query_groups, codes = _codes(query.groups, gallery.groups, "groups")
            # An item without a group is nobody's neighbour, not the neighbour of all others without one.
            query_groups[np.asarray(list(query.groups)).astype(str) == ""] = -1
            gallery_groups = codes[order]
        q, g = (np.asarray(side.vectors, dtype=np.float64) for side in (query, gallery))
        _check_scores(q, g)
        return cls(order, q, g[order], query_labels, gallery_labels[order], own, query_groups, gallery_groups)

    def blocks(self) -> Iterator[slice]:
        rows = max(1, _BLOCK // max(1, len(self.order)))
        for start in range(0, len(self.query_vectors), rows):
            yield slice(start, min(start + rows, len(self.query_vectors)))

    def pack(self, block: slice) -> NDArray[np.int64]:
        scores = self.query_vectors[block] @ self.gallery_vectors.T
        scores *= -_UNIT
        packed = np.rint(scores, out=scores).astype(np.int64)
        packed <<= _SHIFT
        packed += np.arange(len(self.order), dtype=np.int64) << 1
        packed += self.query_labels[block, None] == self.gallery_labels
        if self.own is not None:
            rows = np.flatnonzero(self.own[block] >= 0)
            packed[rows, self.own[block][rows]] = _LAST
        if self.query_groups is not None and self.gallery_groups is not None:
            packed[self.query_groups[block, None] == self.gallery_groups] = _LAST
        return packed


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


def _check_scores(query: NDArray[np.float64], gallery: NDArray[np.float64]) -> None:
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise DataError(
            "vectors of queries and gallery do not fit",
            observed=f"{query.shape} and {gallery.shape}",
            expected="(n, dim) and (m, dim)",
        )
    longest = [float(np.linalg.norm(side, axis=1).max(initial=0.0)) for side in (query, gallery)]
    if not longest[0] * longest[1] < _LARGEST_SCORE:  # not >=, so that NaN is refused too
        raise DataError(
            "scores are beyond what unit vectors can have",
            observed=f"norms up to {longest[0]:.4g} and {longest[1]:.4g}",
            expected="norms of 1",
            hint="Divide each vector by its norm.",
        )
