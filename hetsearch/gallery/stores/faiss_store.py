"""A store in one file, ``index.faiss``: any FAISS index by its factory string, inner product, stable ids.

FAISS takes NaN, vectors of any length and the same id twice without a word; the guards are here. An inverted file
keeps the ids itself: inside IndexIDMap it would give the wrong ones after a removal. IndexIDMap2 would also keep a
table from id to position, 40 bytes a vector that no search needs.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DamagedArtifact, DataError, UsageError
from hetsearch.files import atomic_path
from hetsearch.gallery.embedding.shards import Columns
from hetsearch.gallery.ids import Ids, IdSet
from hetsearch.gallery.stores.exhaustive import best_among
from hetsearch.gallery.stores.faiss_factory import configure, make_index, too_few
from hetsearch.gallery.stores.faiss_kinds import (
    inverted,
    load_faiss,
    reserve,
    selecting,
    shares_of,
    stored_bytes,
    training_rows,
)
from hetsearch.space import Vectors, check_vectors

INDEX = "index.faiss"
RESCORED = 4_000_000  # numbers of vectors that are looked up at once to be scored in float64
_WISH = re.compile(r"WARNING clustering .* at least (\d+) training points\n")


class FaissStore:
    """A FAISS index with ids of its own, or inside ``IndexIDMap``.

    See :class:`hetsearch.gallery.stores.store.GalleryStore`.
    """

    def __init__(self, index: Any, dim: int, expected: int = 0) -> None:
        self._faiss = load_faiss()
        self._expected = expected  # vectors to come
        self._shares = np.empty(0)  # of them in each inverted list
        self._index = index
        self._dim = dim
        self._mapped = isinstance(index, self._faiss.IndexIDMap)
        self._known = IdSet(self.ids)
        # Only here do the stored vectors equal what was added, so that scores can be had in float64.
        self._exact = self._mapped and isinstance(self._faiss.downcast_index(index.index), self._faiss.IndexFlat)

    @classmethod
    def create(cls, dim: int, factory: str, count: int | None) -> FaissStore:
        """An empty store.

        Args:
            dim: length of a vector.
            factory: FAISS's description of an index, such as ``Flat`` or ``IVF256,Flat``; behind an ``@`` settings of
                search, as in ``IVF256,Flat@nprobe=8``.
            count: at most how many vectors will come, None for enough; too few to train it are refused here already.

        Raises:
            UsageError: FAISS does not understand the factory string, or needs more vectors; see
                :func:`hetsearch.gallery.stores.faiss_factory.make_index`.
        """
        faiss = load_faiss()
        index = make_index(faiss, dim, factory, count)
        return cls(index if inverted(faiss, index) else faiss.IndexIDMap(index), dim, count or 0)

    @classmethod
    def load(cls, path: Path, dim: int) -> FaissStore:
        """Read an index that :meth:`save` wrote.

        Raises:
            DamagedArtifact: FAISS cannot read it, or it is another kind of index.
        """
        faiss = load_faiss()
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise DamagedArtifact(f"'{path}' cannot be read by FAISS", observed=_reason(error)) from None
        by_ids = isinstance(index, faiss.IndexIDMap) or inverted(faiss, index)
        if not by_ids or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise DamagedArtifact(f"'{path}' is not an index by stable ids", observed=type(index).__name__)
        if index.d != dim:
            raise DamagedArtifact(f"'{path}' has another dimension", observed=index.d, expected=dim)
        return cls(index, dim)

    @property
    def ids(self) -> Ids:
        """The stored ids, ``(n,)``: in the order in which they were added, or list by list of an inverted file."""
        if self._mapped:
            ids: Ids = self._faiss.vector_to_array(self._index.id_map).astype(np.int64)
            return ids
        lists = self._faiss.try_extract_index_ivf(self._index).invlists
        held = [
            self._faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)).copy()
            for number in range(lists.nlist)
            if lists.list_size(number)
        ]
        return np.concatenate([np.empty(0, dtype=np.int64), *held])

    @property
    def removable(self) -> bool:
        """Whether vectors can be removed; an HNSW graph and a refined index cannot."""
        try:
            self._index.remove_ids(np.empty(0, dtype=np.int64))
        except RuntimeError:
            return False
        return True

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def bytes_for(self, count: int) -> int:
        """About how many bytes ``count`` vectors take, in memory as in the file."""
        return stored_bytes(self._faiss, self._index, count)

    def configure(self, settings: str) -> None:
        """Set how it is searched from now on, see :func:`hetsearch.gallery.stores.faiss_factory.configure`."""
        configure(self._faiss, self._index, settings)

    def train(self, sample: Callable[[int], Vectors]) -> None:
        """Train the index where its kind needs it.

        Args:
            sample: at most how many → ``(n, dim)``, unit rows; called only if needed.

        Raises:
            UsageError: the index needs more vectors than these. Where it would only like more, a ``UserWarning``.
        """
        if self._index.is_trained:
            return
        vectors = sample(training_rows(self._faiss, self._index))
        check_vectors(vectors, self._dim, what="the vectors to train the index")
        wanted: list[int] = []
        try:
            with _wishes(wanted):
                self._index.train(np.ascontiguousarray(vectors, dtype=np.float32))
                self._shares = shares_of(self._faiss, self._index, vectors)
        except RuntimeError as error:
            if found := re.search(r"points \((\d+)\) .* clusters \((\d+)\)", str(error)):
                raise too_few(int(found[1]), int(found[2])) from None
            raise UsageError("FAISS cannot train the index", observed=_reason(error)) from None
        if wanted:
            warnings.warn(
                f"the index is trained with {len(vectors):,} vectors, and FAISS asks for {max(wanted):,} or more: it "
                f"works, but may find less. A smaller factory string needs fewer, 'Flat' none",
                stacklevel=4,  # whoever called build_gallery
            )

    def add(self, ids: Ids, vectors: Vectors, items: Columns | None = None) -> None:
        """Add vectors under their stable ids.

        Args:
            ids: ``(n,)``, not negative, unique, none of them there already.
            vectors: ``(n, dim)``, float32, unit rows.
            items: what else is known of the rows; an index has no place for it.

        Raises:
            DataError: a guard refuses.
        """
        check_vectors(vectors, self._dim, what="the gallery's vectors")
        if len(ids) != len(vectors):
            raise DataError("ids and vectors do not match", observed=len(ids), expected=len(vectors))
        if (twice := self._known.take(ids)) is not None:
            raise DataError("an id comes twice", observed=twice, expected="unique ids")
        self.__dict__.pop("_by_id", None)
        if self._expected and not len(self):
            reserve(self._faiss, self._index, self._expected, self._shares)
        try:
            self._index.add_with_ids(
                np.ascontiguousarray(vectors, dtype=np.float32), np.ascontiguousarray(ids, dtype=np.int64)
            )
        except RuntimeError as error:
            raise UsageError("FAISS cannot add to the index", observed=_reason(error)) from None

    def remove(self, ids: Ids) -> None:
        """Remove vectors by their stable ids.

        Args:
            ids: ``(n,)``, each of them there.

        Raises:
            DataError: an id is not there, or comes twice; then nothing is removed.
            UsageError: this kind of index cannot remove, see :attr:`removable`.
        """
        if not self.removable:
            raise UsageError("this kind of FAISS index cannot remove vectors", hint="Build the index anew.")
        if len(absent := np.setdiff1d(ids, self.ids)) or len(np.unique(ids)) < len(ids):
            observed = f"{absent[0]} is not there" if len(absent) else "an id comes twice"
            raise DataError("ids cannot be removed", observed=observed, expected="ids of the index, once each")
        self._index.remove_ids(np.ascontiguousarray(ids, dtype=np.int64))
        self._known = IdSet(self.ids)
        self.__dict__.pop("_by_id", None)

    def search(self, vectors: Vectors, k: int, among: Ids | None = None) -> tuple[Ids, NDArray[np.float64]]:
        """The best by inner product, best first.

        Args:
            vectors: ``(n, dim)``, float32, unit rows.
            k: how many.
            among: look at these ids only, and at all of them, ``(m,)``, each of them there.

        Returns:
            Ids and scores, ``(n, k)`` each; id -1 and score -inf where the index finds fewer. An exact index
            gives scores computed in float64.
        """
        block = np.ascontiguousarray(vectors, dtype=np.float32)
        if among is not None:
            return self._search_among(block, k, among)
        if self._exact and len(self):
            return self._search_exactly(block, k)
        found, ids = self._index.search(block, k)
        scores = found.astype(np.float64)
        scores[ids < 0] = -np.inf
        return ids, scores

    def save(self, path: Path) -> None:
        """Write the index into one file, whole or not at all.

        Raises:
            OSError: it cannot be written, such as on a full disk.
        """
        # Through a file of Python's: FAISS's own says nothing where its last bytes find no room.
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            self._faiss.write_index(self._index, self._faiss.PyCallbackIOWriter(file.write))

    @cached_property
    def _by_id(self) -> tuple[Ids, Ids]:
        """Positions in the order of their ids, and the ids: only who searches among some pays for the memory."""
        order = np.argsort(ids := self.ids)
        return order, ids[order]

    def _search_among(self, queries: Vectors, k: int, ids: Ids) -> tuple[Ids, NDArray[np.float64]]:
        if self._mapped:
            # A selector would ask of every vector of the index whether it is meant; and a graph would lose its way.
            inner = self._faiss.downcast_index(self._index.index)
            order, known = self._by_id

            def vectors_of(some: Ids) -> Vectors:
                vectors: Vectors = inner.reconstruct_batch(order[np.searchsorted(known, some)])
                return vectors

            return best_among(queries, ids, k, vectors_of, step=max(1, RESCORED // self._dim))
        found, held = self._index.search(queries, k, params=selecting(self._faiss, self._index, ids))
        scores = found.astype(np.float64)
        scores[held < 0] = -np.inf
        return held, scores

    def _search_exactly(self, queries: Vectors, k: int) -> tuple[Ids, NDArray[np.float64]]:
        """By position, so that the vectors found can be looked up where they lie."""
        flat, count = self._faiss.downcast_index(self._index.index), len(self)
        _, places = flat.search(queries, k)
        known = self._faiss.rev_swig_ptr(self._index.id_map.data(), count)
        stored = self._faiss.rev_swig_ptr(flat.get_xb(), count * self._dim).reshape(count, self._dim)
        scores = np.empty(places.shape)
        rows = max(1, RESCORED // (k * self._dim))
        for start in range(0, len(queries), rows):
            block = slice(start, start + rows)
            vectors = stored[places[block]].astype(np.float64)
            scores[block] = (vectors @ queries[block].astype(np.float64)[:, :, None])[:, :, 0]
        ids: Ids = known[places]
        scores[places < 0], ids[places < 0] = -np.inf, -1
        return ids, scores


@contextmanager
def _wishes(wanted: list[int]) -> Iterator[None]:
    """Collect how many training points FAISS asks for.

    It writes that to the process's stderr, past Python, and for a quantiser hundreds of times.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            text = file.read().decode(errors="replace")
            wanted += map(int, _WISH.findall(text))
            sys.stderr.write(_WISH.sub("", text))


def _reason(error: RuntimeError) -> str:
    """The last clause of a FAISS exception: what comes before is a place in its source."""
    return " ".join(str(error).split()).rpartition("Error: ")[2][:200]
