"""A gallery that is open: vectors in a store, and the table of their items."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hetsearch.errors import DamagedArtifact, DataError, SpaceMismatch, UsageError
from hetsearch.files import verify_checksums
from hetsearch.gallery.card import SPACE, GalleryCard, Superseded, in_one_generation
from hetsearch.gallery.hits import Found, Hits, Items, Where
from hetsearch.gallery.ids import Ids, stable_ids
from hetsearch.gallery.stores.milvus_collections import open_collection
from hetsearch.gallery.stores.store import GalleryStore, Scores, store_kind
from hetsearch.gallery.tables import ids_of, read_table
from hetsearch.space import Embeddings, Vectors, check_vectors, require_space

DECIMALS = 9  # scores equal to so many are a tie
TIE_MARGIN = 1e-6  # float32 scores may be wrong by so much
TIE_SLACK = 2  # hits asked for beyond k, so that ties at the end are cut by key; each costs the index time
MOST_SLACK = 1024
FULLY_READ = 10**9  # bytes of an index whose checksum is compared when it is opened


class Gallery:
    """Vectors of one space with their items; see :func:`open_gallery`.

    Attributes:
        card: what ``gallery.json`` says.
    """

    def __init__(
        self, card: GalleryCard, store: GalleryStore, items: Any, ids: Ids, again: Callable[[], Gallery]
    ) -> None:
        self.card = card
        self._items = Items(items, ids)
        self._store = store
        self._again = again  # opens the present generation

    @property
    def space(self) -> str:
        """Id of the space that the vectors lie in."""
        return self.card.space

    @property
    def items(self) -> Any:
        """The table of items (Arrow): ``key``, ``id``, and what is known of label, group, domain, path."""
        return self._items.table

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.card.dim

    def __len__(self) -> int:
        return self.card.count

    def __repr__(self) -> str:
        return f"Gallery({self.card.images!r}, {len(self)} items, space={self.space!r}, dim={self.dim})"

    def search(
        self, query: Embeddings, k: int = 10, where: Where | None = None, *, warn: bool = True
    ) -> list[Hits]:
        """Find the nearest items of each query.

        Args:
            query: ``(n, dim)`` of the gallery's space.
            k: hits a query; more than there are items gives all of them and a ``UserWarning``.
            where: search only among items of which each field named has the value, or one of the values, as in
                ``{"label": ["Shirt", "Coat"], "domain": "shop"}``. Exact with every kind of index.
            warn: say so where there are fewer items than ``k``.

        Returns:
            For each query its hits: score descending, then key ascending. An approximate index may give
            fewer. What is known of an item is looked up when a hit is read.

        Raises:
            SpaceMismatch: the query lies in another space; the one that a gallery was upgraded from is another.
            UsageError: ``k`` is below 1, or ``where`` names a field that the items do not have.
            DataError: the vectors are of another dimension, not finite or not of unit length.
            DamagedArtifact: the collection of a database is gone, and no other generation has followed.
        """
        # One generation to the end, where another thread goes on to the next one meanwhile.
        here = object.__new__(Gallery)
        here.__dict__ = self.__dict__
        try:
            return here._search(query, k, where, warn)
        except Superseded:
            try:
                self.__dict__ = vars(self._again())
            except UsageError as error:  # whoever searches did nothing wrong
                raise DamagedArtifact("the gallery is gone since it was opened", observed=error) from None
            return self.search(query, k, where, warn=warn)

    def item(self, key: str) -> dict[str, Any] | None:
        """What the table of items knows of this key, ``key`` included; None where there is no such item.

        Raises:
            DataError: the key is not valid Unicode.
        """
        return self._items.item(key)

    def _search(self, query: Embeddings, k: int, where: Where | None, warn: bool) -> list[Hits]:
        self.require_query(query.space, what="the query and the gallery")
        if k < 1:
            raise UsageError("k is too small", observed=k, expected="1 or more")
        check_vectors(query.vectors, self.dim, what="the query's vectors")
        among = self._items.where(where) if where else None
        there, whole = (len(self), "gallery") if among is None else (len(among), "filtered gallery")
        if k > there and warn:
            warnings.warn(f"k is {k}, but the {whole} has {there} items: all are given", stacklevel=3)
        if not len(query):
            return []
        found = Found(self._items, *self._best(query.vectors, min(k, there), TIE_SLACK, among))
        return [Hits(found, row) for row in range(len(query))]

    def require_query(self, space: str, *, what: str) -> None:
        """Refuse queries of another space.

        That new queries may be searched among older vectors does not mean that old queries find the new ones.

        Args:
            space: id of the queries' space.
            what: the two things, for the message.

        Raises:
            SpaceMismatch: it is another one.
        """
        if space == self.space:
            return
        older = {*self.card.spaces, *([self.card.former.space] if self.card.former else [])} - {self.space}
        if space in older:
            raise SpaceMismatch(
                f"{what} belong to different spaces",
                observed=f"{space}, which the gallery was upgraded from",
                expected=self.space,
                hint="Use a query encoder of the new space, or go back: hetsearch index upgrade GALLERY --rollback.",
            )
        require_space(space, self.space, what=what)

    def _best(self, vectors: Vectors, k: int, slack: int, among: Ids | None) -> tuple[Ids, Scores]:
        """Ask for more than k, and again for the queries that have a tie across the last place asked for."""
        if not k:
            return np.empty((len(vectors), 0), dtype=np.int64), np.empty((len(vectors), 0))
        there = len(self) if among is None else len(among)
        asked = min(k + slack, there)
        ids, scores = self._store.search(vectors, asked, among)
        tied = scores[:, -1] >= scores[:, k - 1] - TIE_MARGIN
        scores = np.round(scores, DECIMALS)
        # Where scores fall from place to place there is nothing to order.
        falling = scores[:, 1:] < scores[:, :-1]
        if not falling.all():
            for row in np.flatnonzero(~falling.all(axis=1)):
                order = self._order(ids[row], scores[row])
                ids[row], scores[row] = ids[row, order], scores[row, order]
        ids, scores = ids[:, :k], scores[:, :k]
        if asked < there and slack < MOST_SLACK and tied.any() and (tied := tied & (ids[:, -1] >= 0)).any():
            ids[tied], scores[tied] = self._best(vectors[tied], k, slack * 4, among)
        return ids, scores

    def _order(self, ids: Ids, scores: Scores) -> list[int]:
        """By score, then by key; last the places where nothing was found."""
        held = np.flatnonzero(ids >= 0).tolist()
        keys = dict(zip(held, self._items.keys(ids[held]), strict=True))
        return [
            *sorted(held, key=lambda place: (-scores[place], keys[place])), *np.flatnonzero(ids < 0).tolist()
        ]  # fmt: skip


def open_gallery(path: str | Path, *, verify: bool = True) -> Gallery:
    """Open a gallery.

    Args:
        path: the folder that holds ``gallery.json``; or, without the folder, what the gallery is called on a Milvus
            server, ``http://HOST:PORT/NAME``: its items are then read from there.
        verify: compare the checksums of index and items; of an index above 1 GB only the size, which takes no time
            (``hetsearch index verify`` reads everything, the shards too).

    Raises:
        UsageError: no gallery, or an unfinished one.
        DamagedArtifact: a file was changed, or vectors and items do not belong together.
        SpaceMismatch: the collection of a database is another space's.
        MissingExtra: faiss, pyarrow or pymilvus is not installed.
        HetsearchError: the database does not answer.
    """
    if "://" in str(path):
        return _open_address(str(path))
    folder = Path(path)
    return in_one_generation(folder, lambda card: open_generation(folder, card, verify=verify))


def open_generation(folder: Path, card: GalleryCard, *, verify: bool) -> Gallery:
    """Open the generation of a gallery that ``card`` describes; see :func:`open_gallery`."""
    _check_sizes(folder, card)
    if verify:
        # A search reads no shards, and they are by far the largest.
        small = [name for name, size in card.sizes.items() if name == card.items or size <= FULLY_READ]
        verify_checksums(folder, {name: card.files[name] for name in small})
    items = read_table(folder / card.items, {"key": "string", "id": "int64"})
    ids = ids_of(items)
    store = store_kind(card.store).load(folder, card)
    _check_together(folder, card, items["key"].to_pylist(), ids, store)
    _check_spaces(folder, card, items)
    return Gallery(card, store, items, ids, lambda: open_gallery(folder, verify=verify))


def _open_address(address: str) -> Gallery:
    card, store, items = open_collection(address)
    ids = ids_of(items)
    _check_together(address, card, items["key"].to_pylist(), ids, store)
    _check_spaces(address, card, items)
    return Gallery(card, store, items, ids, lambda: _open_address(address))


def _check_sizes(folder: Path, card: GalleryCard) -> None:
    for name, expected in card.sizes.items():
        path = folder / name
        if not path.is_file():
            raise DamagedArtifact(f"'{folder}' is not whole", observed=f"no {name}", expected=name)
        if (size := path.stat().st_size) != expected:
            raise DamagedArtifact(
                f"'{path}' was changed after it was written",
                observed=f"{size:,} bytes",
                expected=f"{expected:,} bytes",
                hint="Restore the file, or make the gallery again.",
            )


def _check_together(
    name: Path | str, card: GalleryCard, keys: Sequence[str], ids: Ids, store: GalleryStore
) -> None:
    if not len(store) == len(ids) == card.count:
        raise DamagedArtifact(
            f"the gallery '{name}' does not fit together",
            observed=f"{len(store)} vectors, {len(ids)} items",
            expected=f"{card.count} of both",
            hint="Build it again.",
        )
    try:
        derived = stable_ids(keys)
    except DataError as error:
        raise DamagedArtifact(f"the items of '{name}' are damaged", observed=str(error)) from None
    stored = getattr(store, "ids", ids)  # a store that cannot list its ids is believed
    if not np.array_equal(derived, ids) or not np.array_equal(np.sort(stored), np.sort(ids)):
        raise DamagedArtifact(
            f"the gallery '{name}' does not fit together",
            observed="ids of items that are not those of their keys, or not those of the vectors",
            hint="Build it again.",
        )


def _check_spaces(name: Path | str, card: GalleryCard, items: Any) -> None:
    """Each item's space is the gallery's own, or one that its card accepts."""
    counts: dict[str, int] = {}
    if SPACE in items.column_names:
        counts = {row["values"]: row["counts"] for row in items[SPACE].value_counts().to_pylist()}
    if counts != {space: count for space, count in card.spaces.items() if count}:
        raise DamagedArtifact(
            f"the items of '{name}' are not of the spaces that its card accepts",
            observed=counts or "no space of each item",
            expected=card.spaces or f"all of {card.space}",
            hint="Build it again.",
        )
