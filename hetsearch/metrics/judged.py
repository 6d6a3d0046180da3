"""Rankings judged by lists instead of labels: for each query its positives, and junk that does not count.

Junk, such as the query's own photograph or a view too poor to tell, is removed before ranks are counted.
Radenović et al.: "Revisiting Oxford and Paris: Large-Scale Image Retrieval Benchmarking" (CVPR 2018).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError
from hetsearch.metrics.packing import EXCLUDED, Mark, Plan

Rows: TypeAlias = "Sequence[Sequence[int] | NDArray[Any]]"


@dataclass(frozen=True)
class Judged:
    """What is right for each query, as rows of the gallery; whatever is not named is wrong.

    Attributes:
        positives: for each query the relevant items; may be empty.
        junk: for each query the items to leave out. None: there are none.
    """

    positives: Rows
    junk: Rows | None = None

    def __post_init__(self) -> None:
        if self.junk is not None and len(self.junk) != len(self.positives):
            raise DataError(
                "positives and junk are not of the same queries",
                observed=f"{len(self.positives)} and {len(self.junk)} lists",
                expected="one of each a query",
            )

    def __len__(self) -> int:
        return len(self.positives)


def ranked_judgements(
    query_vectors: NDArray[Any], gallery_vectors: NDArray[Any], judged: Judged
) -> Iterator[tuple[slice, NDArray[np.bool_]]]:
    """Yield, block by block, which positions of each query's full ranking hold a positive.

    Ranked as in :func:`~hetsearch.metrics.ranked_relevance`, ties by row of the gallery.

    Args:
        query_vectors: ``(queries, dim)``, any float type, unit rows.
        gallery_vectors: ``(items, dim)``, the same.
        judged: the lists of each query.

    Yields:
        The rows of the block, and relevance ``(block, items)``, best first. Junk comes last and is never
        relevant, so a row's sum is the number of the query's positives.

    Raises:
        DataError: not one list a query, a row that the gallery lacks, an item judged twice for one query, or
            scores that unit vectors cannot have.

    >>> gallery = np.array([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0]])
    >>> judged = Judged(positives=[[2]], junk=[[0]])
    >>> [rows.tolist() for _, rows in ranked_judgements(gallery[:1], gallery, judged)]
    [[[False, True, False, False]]]
    """
    if len(judged) != len(query_vectors):
        raise DataError(
            "queries and their judgements do not match",
            observed=f"{len(query_vectors)} queries and {len(judged)} lists",
            expected="as many of each",
        )
    order = np.arange(len(gallery_vectors), dtype=np.int64)
    yield from Plan.of(query_vectors, gallery_vectors, order, _mark_by_lists(judged, len(order))).ranked()


def revisited_protocols(easy: Rows, hard: Rows, junk: Rows) -> dict[str, Judged]:
    """The easy, medium and hard protocol of the revisited benchmarks, from their three lists of each query.

    Args:
        easy: items that show the query's landmark clearly.
        hard: items that show it, yet are hard to tell.
        junk: items that do not count in any protocol.

    Returns:
        ``easy``: easy items are right, hard ones junk. ``medium``: both are right. ``hard``: hard items are
        right, easy ones junk. The benchmark's own junk is junk in all three.

    Raises:
        DataError: lists of different numbers of queries.

    >>> protocols = revisited_protocols(easy=[[1, 2]], hard=[[3]], junk=[[0]])
    >>> [(name, judged.positives, judged.junk) for name, judged in protocols.items()]
    [('easy', [[1, 2]], [[0, 3]]), ('medium', [[1, 2, 3]], [[0]]), ('hard', [[3]], [[0, 1, 2]])]
    """
    if not len(easy) == len(hard) == len(junk):
        raise DataError(
            "easy, hard and junk items are not of the same queries",
            observed=f"{len(easy)}, {len(hard)} and {len(junk)} lists",
            expected="one of each a query",
        )
    return {
        "easy": Judged(easy, _joined(junk, hard)),
        "medium": Judged(_joined(easy, hard), junk),
        "hard": Judged(hard, _joined(junk, easy)),
    }


def _joined(first: Rows, second: Rows) -> list[list[int]]:
    return [np.concatenate([_rows(a), _rows(b)]).tolist() for a, b in zip(first, second, strict=True)]


def _mark_by_lists(judged: Judged, items: int) -> Mark:
    positives = [_rows(listed) for listed in judged.positives]
    junk = [_rows(listed) for listed in ([[]] * len(judged) if judged.junk is None else judged.junk)]
    for query, listed in enumerate(zip(positives, junk, strict=True)):
        _check(np.concatenate(listed), query, items)

    def mark(packed: NDArray[np.int64], block: slice) -> None:
        for row, query in enumerate(range(block.start, block.stop)):
            packed[row, positives[query]] += 1
            packed[row, junk[query]] = EXCLUDED

    return mark


def _rows(listed: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
    rows = np.asarray(listed)
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise DataError(
            "a list of judged items is wrong",
            observed=f"{rows.dtype}, shape {rows.shape}",
            expected="row numbers of the gallery, (n,)",
        )
    return rows.astype(np.int64)


def _check(listed: NDArray[np.int64], query: int, items: int) -> None:
    beyond = listed[(listed < 0) | (listed >= items)]
    if len(beyond):
        raise DataError(
            "a judged item is not in the gallery",
            observed=f"row {beyond[0]} for query {query}",
            expected=f"0 to {items - 1}",
        )
    rows, times = np.unique(listed, return_counts=True)
    if len(twice := rows[times > 1]):
        raise DataError(
            "an item is judged twice",
            observed=f"row {twice[0]} for query {query}",
            expected="an item among the positives or among the junk, once",
        )
