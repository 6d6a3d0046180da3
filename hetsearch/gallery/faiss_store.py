"""A store in one file, ``index.faiss``: any FAISS index by its factory string, inner product, stable ids.

FAISS takes NaN, vectors of any length and the same id twice without a word; the guards are here.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DamagedArtifact, DataError, UsageError
from hetsearch.files import atomic_path
from hetsearch.gallery.ids import Ids
from hetsearch.gallery.tables import missing
from hetsearch.space import Vectors, check_vectors

INDEX = "index.faiss"
EXAMPLES = "'Flat' (exact), 'HNSW32', 'IVF256,Flat', 'SQ8', 'OPQ16,IVF256,PQ16'"
QUERIES = 1024  # in one call, to bound the memory of rescoring
EF_SEARCH = 64  # of HNSW; FAISS's own 16 loses hits
_WISH = re.compile(r"WARNING clustering .* at least (\d+) training points\n")


def load_faiss() -> Any:
    """The module ``faiss``.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise missing("faiss-cpu") from None
    return faiss


class FaissStore:
    """A FAISS index inside ``IndexIDMap2``; see :class:`hetsearch.gallery.store.GalleryStore`."""

    def __init__(self, index: Any, dim: int) -> None:
        self._faiss = load_faiss()
        self._index = index
        self._dim = dim
        self._known = set(self.ids.tolist())
        # Only here do the stored vectors equal what was added, so that scores can be had in float64.
        self._exact = isinstance(self._faiss.downcast_index(index.index), self._faiss.IndexFlat)

    @classmethod
    def create(cls, dim: int, factory: str, count: int) -> FaissStore:
        """An empty store.

        Args:
            dim: length of a vector.
            factory: FAISS's description of an index, such as ``Flat`` or ``IVF256,Flat``.
            count: at most how many vectors will come; fewer than the index has lists is refused here already.

        Raises:
            UsageError: FAISS does not understand the factory string, or needs more vectors.
        """
        faiss = load_faiss()
        wrong = UsageError(
            f"FAISS cannot make an index of '{factory}' for vectors of {dim} numbers",
            expected=f"a factory string such as {EXAMPLES}",
        )
        # FAISS would divide by a count of 0, and ids are ours to map.
        if not factory or re.search(r"[A-Za-z]0+(?!\d)|IDMap", factory):
            raise wrong
        try:
            inner = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        except RuntimeError:
            raise wrong from None
        lists = _tune(faiss, inner)
        if lists > count:
            raise _too_few(count, lists)
        return cls(faiss.IndexIDMap2(inner), dim)

    @classmethod
    def load(cls, folder: Path, dim: int) -> FaissStore:
        """Read ``index.faiss`` in the folder of a gallery.

        Raises:
            DamagedArtifact: FAISS cannot read it, or it is another kind of index.
        """
        faiss = load_faiss()
        path = folder / INDEX
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise DamagedArtifact(f"'{path}' cannot be read by FAISS", observed=_reason(error)) from None
        if not isinstance(index, faiss.IndexIDMap2) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise DamagedArtifact(f"'{path}' is not an index by stable ids", observed=type(index).__name__)
        if index.d != dim:
            raise DamagedArtifact(f"'{path}' has another dimension", observed=index.d, expected=dim)
        return cls(index, dim)

    @property
    def ids(self) -> Ids:
        """The stored ids in the order in which they were added, ``(n,)``."""
        ids: Ids = self._faiss.vector_to_array(self._index.id_map).astype(np.int64)
        return ids

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def train(self, sample: Callable[[], Vectors]) -> None:
        """Train the index where its kind needs it.

        Args:
            sample: gives ``(n, dim)``, unit rows; called only if needed.

        Raises:
            UsageError: the index needs more vectors than these. Where it would only like more, a ``UserWarning``.
        """
        if self._index.is_trained:
            return
        vectors = sample()
        check_vectors(vectors, self._dim, what="the vectors to train the index")
        wanted: list[int] = []
        try:
            with _wishes(wanted):
                self._index.train(np.ascontiguousarray(vectors, dtype=np.float32))
        except RuntimeError as error:
            if found := re.search(r"points \((\d+)\) .* clusters \((\d+)\)", str(error)):
                raise _too_few(int(found[1]), int(found[2])) from None
            raise UsageError("FAISS cannot train the index", observed=_reason(error)) from None
        if wanted:
            warnings.warn(
                f"the index is trained with {len(vectors):,} vectors, and FAISS asks for {max(wanted):,} or more: it "
                f"works, but may find less. A smaller factory string needs fewer, 'Flat' none",
                stacklevel=4,  # whoever called build_gallery
            )

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors under their stable ids.

        Args:
            ids: ``(n,)``, not negative, unique, none of them there already.
            vectors: ``(n, dim)``, float32, unit rows.

        Raises:
            DataError: a guard refuses.
        """
        check_vectors(vectors, self._dim, what="the gallery's vectors")
        if len(ids) != len(vectors):
            raise DataError("ids and vectors do not match", observed=len(ids), expected=len(vectors))
        seen: set[int] = set()
        for number in ids.tolist():
            if number in self._known or number in seen:
                raise DataError("an id comes twice", observed=number, expected="unique ids")
            seen.add(number)
        try:
            self._index.add_with_ids(
                np.ascontiguousarray(vectors, dtype=np.float32), np.ascontiguousarray(ids, dtype=np.int64)
            )
        except RuntimeError as error:
            raise UsageError("FAISS cannot add to the index", observed=_reason(error)) from None
        self._known |= seen

    def search(self, vectors: Vectors, k: int) -> tuple[Ids, NDArray[np.float64]]:
        """The best by inner product, best first.

        Args:
            vectors: ``(n, dim)``, float32, unit rows.
            k: how many.

        Returns:
            Ids and scores, ``(n, k)`` each; id -1 and score -inf where the index finds fewer. An exact index
            gives scores computed in float64.
        """
        ids = np.empty((len(vectors), k), dtype=np.int64)
        scores = np.empty((len(vectors), k), dtype=np.float64)
        for start in range(0, len(vectors), QUERIES):
            block = np.ascontiguousarray(vectors[start : start + QUERIES], dtype=np.float32)
            rows = slice(start, start + len(block))
            scores[rows], ids[rows] = self._index.search(block, k)
            if self._exact:
                scores[rows] = self._rescore(block, ids[rows])
        scores[ids < 0] = -np.inf
        return ids, scores

    def save(self, folder: Path) -> None:
        """Write ``index.faiss``, whole or not at all."""
        with atomic_path(folder / INDEX) as temporary:
            self._faiss.write_index(self._index, str(temporary))

    def _rescore(self, queries: Vectors, ids: Ids) -> NDArray[np.float64]:
        scores = np.full(ids.shape, -np.inf)
        for row, (query, found) in enumerate(zip(queries.astype(np.float64), ids, strict=True)):
            held = found >= 0
            if held.any():
                scores[row, held] = self._index.reconstruct_batch(found[held]).astype(np.float64) @ query
        return scores


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


def _tune(faiss: Any, index: Any) -> int:
    """Raise FAISS's defaults of search, which favour speed over hits; return the number of inverted lists."""
    inner = faiss.downcast_index(index)
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = max(EF_SEARCH, inner.hnsw.efSearch)
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is None:
        return 0
    ivf.nprobe = max(1, ivf.nlist // 8)
    return int(ivf.nlist)


def _too_few(observed: int, expected: int) -> UsageError:
    return UsageError(
        "there are too few vectors to train this index",
        observed=observed,
        expected=f"at least {expected}",
        hint="Use a smaller factory string, or 'Flat', which needs no training.",
    )


def _reason(error: RuntimeError) -> str:
    """The last clause of a FAISS exception: what comes before is a place in its source."""
    return " ".join(str(error).split()).rpartition("Error: ")[2][:200]
