"""FAISS's traps: what it takes without a word, and what it refuses only after all vectors are there."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from hetsearch.errors import UsageError
from hetsearch.gallery.stores.faiss_factory import least_vectors, make_index
from hetsearch.gallery.stores.faiss_store import FaissStore

DIM = 16


@pytest.mark.parametrize(
    "factory",
    [
        "HNSW32_PQ4",  # by distance, and read back as such
        "HNSW1",
        "NSG16",
        "ZnLattice2x8_4",  # its file lacks the codes
        "IVF4,RQ2x4",  # knows no search among some ids
        "PCA17,Flat",
    ],
)
def test_what_faiss_makes_and_no_gallery_can_use(factory: str) -> None:
    faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
    with pytest.raises(UsageError, match=f"cannot make an index of '{factory}'"):
        make_index(faiss, DIM, factory, 10_000)


@pytest.mark.parametrize(
    ("factory", "least"),
    [
        ("Flat", 0),
        ("HNSW8", 0),
        ("SQ8", 0),
        ("IVF20,Flat", 20),
        ("PQ4", 256),
        ("PQ4x4fs", 16),
        ("IVF300,PQ4", 300),
        ("IVF20,PQ4x4fsr,Refine(SQ8)", 20),
        ("OPQ4,PQ4x4", 256),
        ("PCA8,IVF4,Flat", 8),
        ("L2norm,Flat", 0),
    ],
)
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_too_few_vectors_are_known_before_there_is_one(factory: str, least: int) -> None:
    assert least_vectors(faiss, faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)) == least
    if least:
        with pytest.raises(UsageError, match=f"too few vectors.*observed {least - 1}, expected at least {least}"):
            make_index(faiss, DIM, factory, least - 1)
    vectors = np.random.default_rng(0).normal(size=(max(least, 1), DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store = FaissStore.create(DIM, factory, len(vectors))
    store.train(lambda most: vectors)
    store.add(np.arange(len(vectors)), vectors)
    assert len(store) == len(vectors)
