"""From FAISS's description of an index to an empty one, with the traps guarded that would show after hours only."""

from __future__ import annotations

import re
from typing import Any

from hetsearch.errors import UsageError, nearest
from hetsearch.gallery.stores.faiss_kinds import stored_bytes

EXAMPLES = "'Flat' (exact), 'HNSW32', 'IVF256,Flat@nprobe=16', 'SQ8', 'OPQ16,IVF256,PQ16'"
EF_SEARCH = 64  # of HNSW; FAISS's own 16 loses hits
OPQ_POINTS = 256  # vectors that FAISS asks for to train the rotation of OPQ
SETTINGS = {
    "nprobe": "inverted files (IVF): lists that are looked into",
    "efSearch": "HNSW graphs: candidates that are kept",
    "k_factor_rf": "refined indexes (Refine): times k candidates are ranked again",
}


def make_index(faiss: Any, dim: int, factory: str, count: int | None) -> Any:
    """An empty index over inner products.

    Args:
        faiss: the module.
        dim: length of a vector.
        factory: FAISS's description of it, behind an ``@`` settings of search.
        count: at most how many vectors will come; None where they are enough.

    Raises:
        UsageError: FAISS does not understand the string, cannot make what a gallery needs, or needs more vectors.
    """
    description, with_settings, settings = factory.partition("@")
    wrong = UsageError(
        f"FAISS cannot make an index of '{factory}' for vectors of {dim} numbers",
        expected=f"a factory string such as {EXAMPLES}",
    )
    # FAISS would divide by a count of 0, and ids are ours to map.
    if not description or re.search(r"[A-Za-z]0+(?!\d)|IDMap", description):
        raise wrong
    try:
        index = faiss.index_factory(dim, description, faiss.METRIC_INNER_PRODUCT)
        stored_bytes(faiss, index, 1)  # a kind whose size FAISS cannot tell, or a graph of one link
    except RuntimeError:
        raise wrong from None
    if not _usable(faiss, index):
        raise wrong
    if count is not None and (least := least_vectors(faiss, index)) > count:
        raise too_few(count, least)
    _tune(faiss, index)
    if with_settings:
        configure(faiss, index, settings)
    return index


def least_vectors(faiss: Any, index: Any) -> int:
    """How many vectors FAISS asks for to train an index: as many as there are lists, or codes of a quantiser."""
    inner = faiss.downcast_index(index)
    if isinstance(inner, faiss.IndexPreTransform):
        return max(least_vectors(faiss, inner.index), *(_least_of(faiss, part) for part in _chain(faiss, inner)))
    if isinstance(inner, faiss.IndexRefine):
        return max(least_vectors(faiss, inner.base_index), least_vectors(faiss, inner.refine_index))
    return max(getattr(inner, "nlist", 0), inner.pq.ksub if hasattr(inner, "pq") else 0)


def too_few(observed: int, expected: int) -> UsageError:
    """The error of an index that cannot be trained."""
    return UsageError(
        "there are too few vectors to train this index",
        observed=observed,
        expected=f"at least {expected}",
        hint="Use a smaller factory string, or 'Flat', which needs no training.",
    )


def configure(faiss: Any, index: Any, settings: str) -> None:
    """Set how an index is searched; it is saved with the index.

    Args:
        faiss: the module.
        index: of any kind.
        settings: such as ``nprobe=16`` or ``nprobe=16,k_factor_rf=4``, names as FAISS has them.

    Raises:
        UsageError: an unknown name, no number above 0, or a setting that this kind of index does not have.
    """
    for word in settings.split(","):
        name, _, value = word.partition("=")
        if name not in SETTINGS:
            raise UsageError(f"there is no setting of search '{name}'", hint=nearest(name, SETTINGS))
        if not re.fullmatch(r"[1-9]\d{0,8}", value):
            raise UsageError(f"'{name}' of a search cannot be set", observed=f"'{value}'", expected="a number above 0")
        try:
            faiss.ParameterSpace().set_index_parameter(index, name, float(value))
        except RuntimeError:
            raise UsageError(
                f"this kind of FAISS index has no '{name}'", hint=f"It is a setting of {SETTINGS[name]}."
            ) from None


def _usable(faiss: Any, index: Any) -> bool:
    """Whether an index that FAISS makes without a word does what a gallery needs."""
    inner, ivf = faiss.downcast_index(index), faiss.try_extract_index_ivf(index)
    parts = _chain(faiss, inner) if isinstance(inner, faiss.IndexPreTransform) else []
    additive = ivf is not None and isinstance(faiss.downcast_index(ivf), faiss.IndexIVFAdditiveQuantizer)
    return (
        index.metric_type == faiss.METRIC_INNER_PRODUCT  # a graph over PQ codes goes by distance, not asked
        and not additive  # cannot search among some ids
        and not any(isinstance(part, faiss.PCAMatrix) and part.d_out > part.d_in for part in parts)
    )


def _chain(faiss: Any, index: Any) -> list[Any]:
    return [faiss.downcast_VectorTransform(index.chain.at(place)) for place in range(index.chain.size())]


def _least_of(faiss: Any, transform: Any) -> int:
    if isinstance(transform, faiss.OPQMatrix):
        return OPQ_POINTS
    return int(transform.d_out) if isinstance(transform, faiss.PCAMatrix) else 0


def _tune(faiss: Any, index: Any) -> None:
    """Raise FAISS's defaults of search, which favour speed over hits."""
    inner = faiss.downcast_index(index)
    if hasattr(inner, "hnsw"):
        inner.hnsw.efSearch = max(EF_SEARCH, inner.hnsw.efSearch)
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        ivf.nprobe = max(1, ivf.nlist // 8)
