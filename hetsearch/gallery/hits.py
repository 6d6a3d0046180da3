"""What a search gives: hits, whose keys and items are looked up when they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any, TypeAlias, overload

import numpy as np

from hetsearch.errors import UsageError, nearest
from hetsearch.gallery.ids import Ids, stable_id
from hetsearch.gallery.stores.store import Scores
from hetsearch.gallery.tables import arrow, ids_of, take_rows

FIELDS = ("label", "group", "domain", "key")  # of an item, by which a search can be narrowed
Where: TypeAlias = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True)
class Hit:
    """One item found.

    Attributes:
        key: of the item.
        score: cosine, rounded to 9 decimals.
        item: what else the table of items knows: ``label``, ``group``, ``domain``, ``path``; in a gallery that is being
            upgraded also ``space``.
    """

    key: str
    score: float
    item: dict[str, Any] = field(default_factory=dict)


class Items:
    """The table of a gallery's items, looked up by id.

    Attributes:
        table: Arrow: ``key``, ``id``, and what is known of label, group, domain, path.
    """

    def __init__(self, table: Any, ids: Ids) -> None:
        self.table = table.combine_chunks()  # rows are taken out of one piece twice as fast as out of several
        self._order = np.argsort(ids)
        self._sorted = ids[self._order]

    def keys(self, ids: Ids) -> list[str]:
        """The keys of ``(n,)`` ids that are there."""
        found: list[str] = take_rows(self.table["key"], self._places(ids)).to_pylist()
        return found

    def hits(self, ids: Ids, scores: list[float]) -> list[Hit]:
        """All that is known of ``(n,)`` ids that are there."""
        columns = take_rows(self.table, self._places(ids)).to_pydict()
        keys, _ = columns.pop("key"), columns.pop("id")
        rows = zip(*columns.values(), strict=True) if columns else [()] * len(keys)
        return [
            Hit(key, score, dict(zip(columns, row, strict=True)))
            for key, score, row in zip(keys, scores, rows, strict=True)
        ]

    def item(self, key: str) -> dict[str, Any] | None:
        """All that is known of the item of this key, ``key`` included; None where there is none."""
        place = int(np.searchsorted(self._sorted, number := stable_id(key)))
        if place == len(self._sorted) or self._sorted[place] != number:
            return None
        row: dict[str, Any] = self.table.slice(int(self._order[place]), 1).drop_columns(["id"]).to_pylist()[0]
        return row if row["key"] == key else None

    def where(self, where: Where) -> Ids:
        """The ids of the items of which each field named has the value, or one of the values.

        Raises:
            UsageError: the items have no such field.
        """
        pa, _ = arrow()
        import pyarrow.compute as pc

        kept = np.ones(len(self.table), dtype=bool)
        for name, values in where.items():
            if name not in FIELDS or name not in self.table.column_names:
                known = [field for field in FIELDS if field in self.table.column_names]
                raise UsageError(f"the items have no field '{name}'", hint=nearest(name, known))
            wanted = pa.array([values] if isinstance(values, str) else list(values), pa.string())
            kept &= pc.is_in(self.table[name], value_set=wanted).to_numpy()
        ids: Ids = ids_of(self.table)[kept]
        return ids

    def _places(self, ids: Ids) -> Ids:
        return self._order[np.searchsorted(self._sorted, ids)]


class Found:
    """What one search found for a batch of queries: ids and scores, and, once it is asked for, the items.

    Args:
        items: of the gallery.
        ids: ``(n, k)``, best first, -1 at the end where there are fewer.
        scores: ``(n, k)``.
    """

    def __init__(self, items: Items, ids: Ids, scores: Scores) -> None:
        self.ids, self.scores = ids, scores
        self._items = items

    @cached_property
    def rows(self) -> list[list[Hit]]:
        """The hits of each query. One look into the table serves them all."""
        held = self.ids >= 0
        hits = iter(self._items.hits(self.ids[held], self.scores[held].tolist()))
        return [list(islice(hits, count)) for count in held.sum(axis=1).tolist()]


class Hits(Sequence[Hit]):
    """The hits of one query, best first: a sequence of :class:`Hit`.

    A search knows ids and scores; a fast index gives them in less time than it takes to look up ten rows of a table.
    So the table is asked when a hit is first read, for all queries of the search at once.
    """

    __slots__ = ("_found", "_row")

    def __init__(self, found: Found, row: int) -> None:
        self._found, self._row = found, row

    @overload
    def __getitem__(self, place: int) -> Hit: ...
    @overload
    def __getitem__(self, place: slice) -> list[Hit]: ...
    def __getitem__(self, place: int | slice) -> Hit | list[Hit]:
        return self._found.rows[self._row][place]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._found.rows[self._row])

    def __len__(self) -> int:
        return int((self._found.ids[self._row] >= 0).sum())

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))
