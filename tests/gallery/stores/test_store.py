from __future__ import annotations

from pathlib import Path

import pytest

from hetsearch.errors import UsageError
from hetsearch.gallery import GalleryStore
from hetsearch.gallery.stores import store as module
from hetsearch.gallery.stores.faiss_store import FaissStore
from hetsearch.gallery.stores.store import STORES, StoreBackend, StorePlan, store_kind


def test_faiss_is_a_store(tmp_path: Path) -> None:
    backend: StoreBackend = store_kind("faiss").backend(tmp_path, None)
    plan: StorePlan = backend.plan(4, "Flat", 1)
    store: GalleryStore = FaissStore.create(4, "Flat", 1)
    assert plan.bytes_for(10) == 10 * (4 * 4 + 8)
    assert len(store) == 0


def test_an_unknown_store_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no store 'fais'.*Did you mean 'faiss'.*Known: faiss, milvus"):
        store_kind("fais")
    assert set(STORES) == {"faiss", "milvus"}


@pytest.mark.parametrize("name", ["GalleryStore", "WritableStore", "LiveStore", "StorePlan", "StoreBackend"])
def test_a_protocol_has_at_most_three_methods(name: str) -> None:
    own = [key for key, value in vars(getattr(module, name)).items() if callable(value) or isinstance(value, property)]
    assert 1 <= len([key for key in own if key == "__len__" or not key.startswith("_")]) <= 3
