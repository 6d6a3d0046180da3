"""What a store of vectors can do, where the stores of a gallery live, and which kinds there are.

A generation of a gallery has its own store, or that of the one before: a file in the gallery's folder (FAISS), or a
collection of a database (Milvus). ``index`` in ``gallery.json`` is its address.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import UsageError, nearest
from hetsearch.gallery.card import GalleryCard
from hetsearch.gallery.embedding.shards import Columns
from hetsearch.gallery.ids import Ids
from hetsearch.gallery.stores.faiss_folder import FaissFolder, load_faiss_store
from hetsearch.gallery.stores.milvus_collections import MilvusCollections, iter_milvus_rows, load_milvus_store
from hetsearch.space import Vectors

Scores = NDArray[np.float64]
Rows = tuple[Ids, Vectors, Columns]  # of a store: n ids, (n, dim) vectors, and what is known of the items


class GalleryStore(Protocol):
    """Unit vectors by stable id, searched by inner product."""

    def add(self, ids: Ids, vectors: Vectors, items: Columns | None = None) -> None:
        """Take ``(n,)`` ids and ``(n, dim)`` vectors; refuse what is not of unit length or there already.

        ``items`` is what else is known of the rows, by column; a store may keep it.
        """

    def search(self, vectors: Vectors, k: int, among: Ids | None = None) -> tuple[Ids, Scores]:
        """Ids and scores ``(n, k)`` of the best, best first; id -1 and score -inf where there are fewer.

        With ``among`` only those ids are looked at, and all of them, however the store finds things otherwise.
        """

    def __len__(self) -> int:
        """How many vectors there are."""


class WritableStore(GalleryStore, Protocol):
    """A store that a job fills."""

    def train(self, sample: Callable[[int], Vectors]) -> None:
        """Learn what the store must know before the first vector is added.

        Args:
            sample: at most how many → an even sample of what will come, ``(n, dim)``.
        """


class StorePlan(Protocol):
    """What is known of a store before there is one."""

    @property
    def removable(self) -> bool:
        """Whether vectors can be removed one by one."""

    def bytes_for(self, count: int) -> int:
        """About how many bytes ``count`` vectors take."""


class LiveStore(WritableStore, StorePlan, Protocol):
    """A store that is filled and can be opened again to be changed."""

    def remove(self, ids: Ids) -> None:
        """Remove the vectors of ``(n,)`` ids, each of them there."""


class StoreBackend(Protocol):
    """Where the stores of one gallery live, one for each generation that changed it."""

    def plan(self, dim: int, factory: str, count: int | None) -> StorePlan:
        """What a store of ``count`` vectors would be; refuse, before a job, what cannot be built here.

        None is for one that is there, and has learned what it must know, however few vectors are left in it.
        """

    def write(self, card: GalleryCard, present: GalleryCard | None, fill: Callable[[LiveStore], None]) -> str:
        """Make the store of a new generation, and let it be filled; its address for ``card.index`` comes back.

        It is that of the ``present`` generation at first, or an empty one.
        """

    def settle(self, card: GalleryCard) -> None:
        """Lead readers to the store of the present generation, and remove what no generation needs."""


@dataclass(frozen=True)
class StoreKind:
    """How one kind of store is made and opened.

    Attributes:
        load: folder and card of a gallery → its store.
        backend: folder of a gallery, and the URI of a database or the address of a store → where its stores live.
        alterable: whether the next generation's store is made of a copy of the present one; else it is filled anew
            from the shards, and also where only what it says of the items or the space is another.
        rows: folder and card of a gallery → all rows, of a store whose files only a database can read.
    """

    load: Callable[[Path, GalleryCard], GalleryStore]
    backend: Callable[[Path, str | None], StoreBackend]
    alterable: bool
    rows: Callable[[Path, GalleryCard], Iterator[Rows]] | None = None


STORES = {
    "faiss": StoreKind(load_faiss_store, FaissFolder, alterable=True),
    "milvus": StoreKind(load_milvus_store, MilvusCollections, alterable=False, rows=iter_milvus_rows),
}


def store_kind(name: str) -> StoreKind:
    """The kind of store called ``name``.

    Raises:
        UsageError: there is none; the known ones are named.
    """
    if name not in STORES:
        raise UsageError(f"there is no store '{name}'", hint=nearest(name, STORES))
    return STORES[name]


def store_backend(out: Path, card: GalleryCard) -> StoreBackend:
    """Where the stores of a gallery live: ``card.index`` is the address of one, or the URI of the first."""
    return store_kind(card.store).backend(out, card.index or None)
