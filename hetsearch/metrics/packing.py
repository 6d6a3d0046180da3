"""Score, place and relevance of an item in one 64-bit integer, so that sorting integers ranks a gallery.

NumPy sorts plain integers with vector instructions, so one sort of these gives the whole order at once:

    bit 63 … 33   minus the rounded score, in units of 1e-9
    bit 32 … 1    place of the item in the order that breaks ties
    bit 0         1 if the item is relevant

Who is relevant and who is left out is marked by the caller: by labels, keys and groups, or by lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError

UNIT = 1e9  # scores are compared in steps of 1 / UNIT
EXCLUDED = np.iinfo(np.int64).max - 1  # sorts behind every real item, and its relevance bit is 0
_SHIFT = 33
_LARGEST_SCORE = 2**30 / UNIT  # 1.07: unit vectors within their tolerance stay below it
_BLOCK = 1 << 20  # scores held at once: three arrays of 8 MB, and a single row of a larger gallery

Mark: TypeAlias = "Callable[[NDArray[np.int64], slice], None]"


@dataclass(frozen=True)
class Plan:
    """Both sides as numbers, ready to be ranked a block of queries at a time.

    Attributes:
        order: ``(items,)``, place among ties → row of the gallery.
        query_vectors: ``(queries, dim)``.
        gallery_vectors: ``(items, dim)``, in the order of the places.
        mark: adds 1 to what is relevant and writes ``EXCLUDED`` over what is left out, in the packed
            ``(block, items)`` of those queries, columns by place.
    """

    order: NDArray[np.int64]
    query_vectors: NDArray[np.float64]
    gallery_vectors: NDArray[np.float64]
    mark: Mark

    @classmethod
    def of(cls, query: NDArray[Any], gallery: NDArray[Any], order: NDArray[np.int64], mark: Mark) -> Plan:
        """The plan of two sides of unit vectors; DataError for what unit vectors cannot be."""
        q, g = (np.asarray(side, dtype=np.float64) for side in (query, gallery))
        _check_scores(q, g)
        return cls(order, q, g[order], mark)

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.int64]]]:
        """Yield the rows of each block of queries and its packed items ``(block, items)``, by place."""
        rows = max(1, _BLOCK // max(1, len(self.order)))
        for start in range(0, len(self.query_vectors), rows):
            block = slice(start, min(start + rows, len(self.query_vectors)))
            yield block, self._pack(block)

    def ranked(self) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
        """Yield the rows of each block of queries and which ranks hold a relevant item, best first."""
        for block, packed in self.blocks():
            packed.sort(axis=1)
            yield block, relevance_of(packed)

    def _pack(self, block: slice) -> NDArray[np.int64]:
        scores = self.query_vectors[block] @ self.gallery_vectors.T
        scores *= -UNIT
        packed = np.rint(scores, out=scores).astype(np.int64)
        packed <<= _SHIFT
        packed += np.arange(len(self.order), dtype=np.int64) << 1
        self.mark(packed, block)
        return packed


def relevance_of(packed: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the packed items are relevant; excluded ones never are."""
    return (packed & 1).astype(np.bool_)


def scores_of(packed: NDArray[np.int64]) -> NDArray[np.float64]:
    """The rounded scores of packed items; NaN for excluded ones.

    >>> scores_of(np.array([-(500_000_000 << 33) + 1, EXCLUDED])).tolist()
    [0.5, nan]
    """
    return np.where(packed == EXCLUDED, np.nan, -(packed >> _SHIFT) / UNIT)


def places_of(packed: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of packed items; -1 for excluded ones."""
    return np.where(packed == EXCLUDED, -1, (packed >> 1) & 0xFFFFFFFF)


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
