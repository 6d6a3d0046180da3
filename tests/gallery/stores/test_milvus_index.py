from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import UsageError
from hetsearch.gallery.stores.milvus_index import MilvusIndex


@pytest.mark.parametrize(
    ("factory", "kind", "build", "search"),
    [
        ("Flat", "FLAT", {}, {}),
        ("HNSW32", "HNSW", {"M": 32, "efConstruction": 200}, {"ef": 64}),
        ("HNSW8,Flat", "HNSW", {"M": 8, "efConstruction": 200}, {"ef": 64}),
        ("HNSW32,SQ8", "HNSW_SQ", {"M": 32, "efConstruction": 200, "sq_type": "SQ8"}, {"ef": 64}),
        ("IVF256,Flat", "IVF_FLAT", {"nlist": 256}, {"nprobe": 32}),
        ("IVF4,SQ8", "IVF_SQ8", {"nlist": 4}, {"nprobe": 1}),
    ],
)
def test_a_factory_string_names_an_index(
    factory: str, kind: str, build: dict[str, object], search: dict[str, int]
) -> None:
    index = MilvusIndex.parse(16, factory, 1000)
    assert (index.kind, index.build, index.search(10)) == (kind, build, search)
    assert index.removable


def test_hnsw_looks_at_as_many_as_are_asked_for() -> None:
    assert MilvusIndex.parse(16, "HNSW32", 1000).search(500) == {"ef": 500}


@pytest.mark.parametrize("factory", ["", "SQ8", "PQ16", "IVF256,PQ16", "OPQ16,IVF256,PQ16", "IVF4,RaBitQ", "flat"])
def test_what_milvus_has_not_is_refused_with_what_it_has(factory: str) -> None:
    with pytest.raises(UsageError, match=r"cannot make an index of.*'Flat' \(exact\).*'--store faiss' knows many"):
        MilvusIndex.parse(16, factory, 1000)


@pytest.mark.parametrize(("factory", "bounds"), [("HNSW1", "2 to 2,048"), ("HNSW4096", "2 to"), ("IVF0,Flat", "1 to")])
def test_a_number_out_of_bounds(factory: str, bounds: str) -> None:
    with pytest.raises(UsageError, match=f"'{factory}': observed .*expected {bounds}"):
        MilvusIndex.parse(16, factory, 10**6)


def test_too_few_vectors() -> None:
    with pytest.raises(UsageError, match="vectors for an index of 'IVF256,Flat': observed 255, expected at least"):
        MilvusIndex.parse(16, "IVF256,Flat", 255)


def test_the_size_that_is_expected() -> None:
    sizes = [MilvusIndex.parse(128, factory, 10**4).bytes_for(10**4) for factory in ("HNSW32", "Flat", "IVF64,SQ8")]
    assert (np.diff(sizes) < 0).all()
    assert sizes[1] == 10**4 * (2 * 128 * 4 + 16)
