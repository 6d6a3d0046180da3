from __future__ import annotations

import pytest

from hetsearch.errors import UsageError
from hetsearch.gallery import GalleryStore
from hetsearch.gallery.faiss_store import FaissStore
from hetsearch.gallery.store import store_kind


def test_faiss_is_a_store() -> None:
    store: GalleryStore = store_kind("faiss").create(4, "Flat", 1)
    assert isinstance(store, FaissStore)
    assert len(store) == 0


def test_an_unknown_store_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no store 'fais'.*Did you mean 'faiss'"):
        store_kind("fais")


def test_the_protocol_has_three_methods() -> None:
    methods = [name for name, value in vars(GalleryStore).items() if callable(value)]
    assert [name for name in methods if not name.startswith("_")] == ["add", "search"]
    assert "__len__" in vars(GalleryStore)
