from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from hetsearch.gallery.choosing.faiss_candidates import LEAST, kinds, lists_for
from hetsearch.gallery.stores.faiss_kinds import TRAINING_ROWS
from hetsearch.gallery.stores.faiss_store import FaissStore
from tests.gallery.stores.test_faiss_store import unit

DIM, COUNT = 32, 5000
FACTORIES = [kind.factory(COUNT, kind.settings[-1]) for kind in kinds(DIM, COUNT, COUNT)]


@pytest.mark.parametrize("count", [1, 10, 300, LEAST, 50_000, 10**6, 10**7, 10**9])
def test_lists_are_a_power_of_two_that_can_be_trained(count: int) -> None:
    lists = lists_for(count)
    assert lists & (lists - 1) == 0
    assert 1 <= lists <= max(1, min(count, TRAINING_ROWS) / 39)
    assert lists <= 4 * count**0.5


def test_the_kinds_of_the_contract() -> None:
    templates = [kind.template for kind in kinds(128, 10**6, 50_000)]
    assert templates == [
        "Flat", "SQ8", "IVF{lists},Flat", "IVF{lists},SQfp16", "IVF{lists},SQ8", "IVF{lists},RaBitQ4", "HNSW32",
        "IVF{lists},RaBitQ,Refine(SQ8)", "IVF{lists},PQ64x4fsr,Refine(SQ8)",
    ]  # fmt: skip
    assert [kind.template for kind in kinds(128, LEAST - 1, LEAST - 1)] == ["Flat", "SQ8", "HNSW32"]
    assert "PQ" not in str([kind.template for kind in kinds(33, 10**6, 50_000)])


def test_time_grows_with_what_is_read() -> None:
    by_name = {kind.template: kind for kind in kinds(128, 10**6, 50_000)}
    assert by_name["Flat"].growth(10**4, 10**6, "") == 100
    assert by_name["HNSW32"].growth(10**4, 10**6, "efSearch=16") == pytest.approx(1.5)
    # 512 lists of 98 vectors, then 2,048 lists of 488: all centroids are read, and 16 lists.
    read = [512 * 512 + 16 / 512 * 50_000 * 128, 2048 * 512 + 16 / 2048 * 10**6 * 128]
    assert by_name["IVF{lists},SQ8"].growth(50_000, 10**6, "nprobe=16") == pytest.approx(read[1] / read[0])


@pytest.mark.parametrize("factory", FACTORIES)
def test_each_can_be_built_without_a_warning_and_its_bytes_are_known(factory: str, tmp_path: Path) -> None:
    vectors = unit(COUNT, DIM)
    store = FaissStore.create(DIM, factory, COUNT)
    expected = store.bytes_for(COUNT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.train(lambda most: vectors)
    store.add(np.arange(COUNT) * 3, vectors)
    store.save(tmp_path / "index.faiss")
    # How full the last block of each list is, where codes lie in blocks, is known only afterwards.
    assert (tmp_path / "index.faiss").stat().st_size == pytest.approx(expected, rel=0.04 if "fs" in factory else 0.01)
    again = FaissStore.load(tmp_path / "index.faiss", DIM)
    ids, _ = again.search(vectors[:50], 1)
    # With the most thorough setting of each, which the file must have kept.
    assert (ids[:, 0] == np.arange(50) * 3).mean() > 0.95
    # Short codes and lists that are not all read would miss some.
    assert np.array_equal(ids, store.search(vectors[:50], 1)[0])
