from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from hetsearch.gallery.hits import Found, Hit, Hits, Items

IDS = np.array([70, 10, 40], dtype=np.int64)
TABLE = pa.table({"key": ["c", "a", "b"], "id": IDS, "label": ["x", "y", None]})


class Counted(Items):
    reads = 0

    def hits(self, ids: np.ndarray, scores: list[float]) -> list[Hit]:
        self.reads += 1
        return super().hits(ids, scores)


def pair(items: Items) -> list[Hits]:
    """What a search for two queries gives; the second finds less."""
    found = Found(items, np.array([[40, 70], [10, -1]]), np.array([[0.5, 0.25], [1.0, -np.inf]]))
    return [Hits(found, row) for row in range(2)]


def test_items_are_looked_up_once_and_only_when_they_are_read() -> None:
    items = Counted(TABLE, IDS)
    first, second = pair(items)
    assert (len(first), len(second)) == (2, 1)
    assert items.reads == 0
    assert list(first) == [Hit("b", 0.5, {"label": None}), Hit("c", 0.25, {"label": "x"})]
    assert (first[0].key, first[-1].key, [hit.key for hit in first[1:]]) == ("b", "c", ["c"])
    assert second[0] == Hit("a", 1.0, {"label": "y"})
    assert items.reads == 1
    with pytest.raises(IndexError):
        second[1]


def test_they_compare_as_lists() -> None:
    first, second = pair(Items(TABLE, IDS))
    assert first == list(first)
    assert first == pair(Items(TABLE, IDS))[0]
    assert first != second
    assert first != 5
    assert repr(first) == repr(list(first))


def test_a_table_of_keys_alone_and_nothing_found() -> None:
    assert pair(Items(TABLE.select(["key", "id"]), IDS))[1] == [Hit("a", 1.0)]
    nothing = Hits(Found(Items(TABLE, IDS), np.array([[-1]]), np.array([[-np.inf]])), 0)
    assert (len(nothing), list(nothing), bool(nothing)) == (0, [], False)
