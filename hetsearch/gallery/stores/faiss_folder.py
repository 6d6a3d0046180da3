"""The FAISS stores of one gallery: a file a generation, in its folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hetsearch.errors import UsageError
from hetsearch.gallery.card import GalleryCard
from hetsearch.gallery.manifest import generation_name
from hetsearch.gallery.stores.faiss_store import INDEX, FaissStore

_FILE = re.compile(r"index(?:-\d{5,})?\.faiss")


class FaissFolder:
    """See :class:`hetsearch.gallery.stores.store.StoreBackend`.

    Args:
        out: the folder of the gallery.
        address: of a store in it; None where there is none.
    """

    def __init__(self, out: Path, address: str | None = None) -> None:
        if address is not None and not _FILE.fullmatch(address):
            raise UsageError(
                "a FAISS store lies in the gallery's folder", observed=f"--uri {address}", hint="Use --store milvus."
            )
        self._out = out

    def plan(self, dim: int, factory: str, count: int | None) -> FaissStore:
        """An empty store; see :meth:`FaissStore.create`."""
        return FaissStore.create(dim, factory, count)

    def write(self, card: GalleryCard, present: GalleryCard | None, fill: Callable[[FaissStore], None]) -> str:
        """Write the index of a generation into its file; the file's name comes back."""
        if present is None:
            store = FaissStore.create(card.dim, card.factory, card.count)
        else:
            store = load_faiss_store(self._out, present)
        fill(store)
        name = generation_name(INDEX, card.generation)
        store.save(self._out / name)
        return name

    def settle(self, card: GalleryCard) -> None:
        """Do nothing: readers find the file by ``gallery.json``, and the folder is swept."""


def load_faiss_store(out: Path, card: GalleryCard) -> FaissStore:
    """The index of a gallery.

    Raises:
        DamagedArtifact: FAISS cannot read it, or it is another index.
    """
    return FaissStore.load(out / card.index, card.dim)
