"""What the kinds of FAISS indexes have in common and where they differ: ids, defaults of search, size."""

from __future__ import annotations

from typing import Any

from hetsearch.gallery.tables import missing

EF_SEARCH = 64  # of HNSW; FAISS's own 16 loses hits
NUMBER = 4  # bytes of a float32


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


def tune(faiss: Any, index: Any) -> int:
    """Raise FAISS's defaults of search, which favour speed over hits; return the number of inverted lists."""
    inner = faiss.downcast_index(index)
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = max(EF_SEARCH, inner.hnsw.efSearch)
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is None:
        return 0
    ivf.nprobe = max(1, ivf.nlist // 8)
    return int(ivf.nlist)


def stored_bytes(faiss: Any, index: Any, count: int) -> int:
    """About how many bytes an index takes with ``count`` vectors, ids included."""
    inner = faiss.downcast_index(index.index if isinstance(index, faiss.IndexIDMap2) else index)
    ivf = faiss.try_extract_index_ivf(index)
    lists = 0 if ivf is None else int(ivf.nlist) * int(ivf.d) * NUMBER
    graph = 0
    if hasattr(inner, "hnsw"):
        # The lowest layer holds nearly all links; offsets and levels are 12 bytes a vector.
        graph = int(inner.hnsw.nb_neighbors(0)) * NUMBER + 12
        inner = faiss.downcast_index(inner.storage)
    return count * (int(inner.sa_code_size()) + graph + 8) + lists


def reserve(faiss: Any, index: Any, count: int) -> None:
    """Take the memory of ``count`` vectors at once, where they lie in one piece.

    It would double each time it is full, and hold the old and the new piece at that moment.
    """
    inner = faiss.downcast_index(index.index if isinstance(index, faiss.IndexIDMap2) else index)
    if hasattr(inner, "hnsw"):
        inner = faiss.downcast_index(inner.storage)
    if hasattr(inner, "codes"):
        inner.codes.resize(count * int(inner.code_size))
        inner.codes.resize(0)  # what was taken stays taken
