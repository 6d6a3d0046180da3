"""What a store of vectors can do, and which stores there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import UsageError, nearest
from hetsearch.gallery.faiss_store import INDEX, FaissStore
from hetsearch.gallery.ids import Ids
from hetsearch.space import Vectors

Scores = NDArray[np.float64]


class GalleryStore(Protocol):
    """Unit vectors by stable id, searched by inner product."""

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Take ``(n,)`` ids and ``(n, dim)`` vectors; refuse what is not of unit length or there already."""

    def search(self, vectors: Vectors, k: int) -> tuple[Ids, Scores]:
        """Ids and scores ``(n, k)`` of the best, best first; id -1 and score -inf where there are fewer."""

    def __len__(self) -> int:
        """How many vectors there are."""


class WritableStore(GalleryStore, Protocol):
    """A store that a job fills."""

    def train(self, sample: Callable[[], Vectors]) -> None:
        """Learn what the store must know before the first vector is added, from ``(n, dim)`` of them."""

    def save(self, path: Path) -> None:
        """Write the store."""


class LiveStore(WritableStore, Protocol):
    """A store that is filled and can be opened again to be changed."""

    @property
    def removable(self) -> bool:
        """Whether vectors can be removed one by one."""

    def remove(self, ids: Ids) -> None:
        """Remove the vectors of ``(n,)`` ids, each of them there."""

    def bytes_for(self, count: int) -> int:
        """About how many bytes ``count`` vectors take."""


@dataclass(frozen=True)
class StoreKind:
    """How to make and to open one kind of store.

    Attributes:
        create: dimension, factory string and number of vectors to come → an empty store.
        load: where the store was saved, dimension → the store.
        file: what the store's file in the folder of a gallery is called.
    """

    create: Callable[[int, str, int], LiveStore]
    load: Callable[[Path, int], LiveStore]
    file: str


STORES = {"faiss": StoreKind(create=FaissStore.create, load=FaissStore.load, file=INDEX)}


def store_kind(name: str) -> StoreKind:
    """The kind of store called ``name``.

    Raises:
        UsageError: there is none; the known ones are named.
    """
    if name not in STORES:
        raise UsageError(f"there is no store '{name}'", hint=nearest(name, STORES))
    return STORES[name]
