"""What the kinds of FAISS indexes have in common and where they differ: ids, search among some of them, size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.gallery.tables import missing
from hetsearch.space import Vectors

NUMBER = 4  # bytes of a float32
ID = 8  # bytes of an id
TRAINING_ROWS = 262_144  # at most so many vectors train an index
PER_CENTROID = 256  # what FAISS's k-means looks at for each
CODES = 256  # centroids of a product quantiser's byte
ROOM = 1.15  # of what a list is expected to hold: a sample knows its share to some percent


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


def inverted(faiss: Any, index: Any) -> bool:
    """Whether an index is an inverted file, perhaps behind a rotation or projection: it has ids of its own."""
    inner = faiss.downcast_index(index)
    if isinstance(inner, faiss.IndexPreTransform):
        inner = faiss.downcast_index(inner.index)
    return isinstance(inner, faiss.IndexIVF)


def selecting(faiss: Any, index: Any, ids: Any) -> Any:
    """Search parameters with which an inverted file looks at these ids only, and at all of them: in every list."""
    selector = faiss.IDSelectorBatch(ids)
    lists = int(faiss.extract_index_ivf(index).nlist)
    params = faiss.SearchParametersIVF(sel=selector, nprobe=lists)
    if isinstance(faiss.downcast_index(index), faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=params)
    return params


def stored_bytes(faiss: Any, index: Any, count: int) -> int:
    """About how many bytes an index takes with ``count`` vectors, ids included."""
    each, once = _bytes(faiss, index)
    return int(each * count + once)


def _bytes(faiss: Any, index: Any) -> tuple[float, float]:
    """Bytes of each vector, and bytes that do not depend on their number."""
    inner = faiss.downcast_index(index)
    if isinstance(inner, faiss.IndexIDMap):
        return _sum((ID, 0), _bytes(faiss, inner.index))
    if isinstance(inner, faiss.IndexPreTransform):
        return _bytes(faiss, inner.index)
    if isinstance(inner, faiss.IndexRefine):
        return _sum(_bytes(faiss, inner.base_index), _bytes(faiss, inner.refine_index))
    if isinstance(inner, faiss.IndexIVF):
        # Fast scans pad each list to whole blocks.
        padding = getattr(inner, "bbs", 0) / 2 * inner.code_size * inner.nlist
        return inner.code_size + ID, inner.nlist * inner.d * NUMBER + padding
    if hasattr(inner, "hnsw"):
        # The lowest layer holds nearly all links, one vector in M the next; offsets and levels are 12 bytes.
        links = inner.hnsw.nb_neighbors(0) + inner.hnsw.nb_neighbors(1) / (inner.hnsw.nb_neighbors(1) - 1)
        return _sum((links * NUMBER + 12, 0), _bytes(faiss, inner.storage))
    return float(inner.sa_code_size()), 0.0


def _sum(first: tuple[float, float], second: tuple[float, float]) -> tuple[float, float]:
    return first[0] + second[0], first[1] + second[1]


def training_rows(faiss: Any, index: Any) -> int:
    """How many vectors train an index as well as more of them would: k-means looks at some for each centroid."""
    ivf = faiss.try_extract_index_ivf(index)
    return min(TRAINING_ROWS, PER_CENTROID * max(CODES, 0 if ivf is None else int(ivf.nlist)))


def shares_of(faiss: Any, index: Any, sample: Vectors) -> NDArray[np.float64]:
    """What share of a sample goes into each inverted list, ``(lists,)``; nothing, ``(0,)``, where there are none."""
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is None:
        return np.empty(0)
    if isinstance(index, faiss.IndexPreTransform):
        for number in range(index.chain.size()):
            sample = faiss.downcast_VectorTransform(index.chain.at(number)).apply(sample)
    return np.bincount(ivf.quantizer.search(sample, 1)[1][:, 0], minlength=ivf.nlist) / len(sample)


def reserve(faiss: Any, index: Any, count: int, shares: NDArray[np.float64]) -> None:
    """Take the memory of ``count`` vectors at once: of all where they lie in one piece, or of each inverted list.

    A piece would double each time it is full, and hold the old and the new one at that moment.

    Args:
        faiss: the module.
        index: an empty, trained index.
        count: vectors to come.
        shares: of them in each list, see :func:`shares_of`.
    """
    if len(shares):
        lists = faiss.downcast_InvertedLists(faiss.try_extract_index_ivf(index).invlists)
        for number, room in enumerate(np.ceil(shares * count * ROOM).astype(int).tolist()):
            lists.resize(number, room)
            lists.resize(number, 0)  # what was taken stays taken
        return
    inner = faiss.downcast_index(index.index if isinstance(index, faiss.IndexIDMap) else index)
    if hasattr(inner, "hnsw"):
        inner = faiss.downcast_index(inner.storage)
    if hasattr(inner, "codes"):
        inner.codes.resize(count * int(inner.code_size))
        inner.codes.resize(0)
