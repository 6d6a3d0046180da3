from __future__ import annotations

import os
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest

from hetsearch.errors import DamagedArtifact, DataError, MissingExtra, UsageError
from hetsearch.gallery.stores.faiss_store import FaissStore, _wishes
from tests.gallery.scripted import file_limit


def unit(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filled(factory: str, vectors: np.ndarray, ids: np.ndarray) -> FaissStore:
    store = FaissStore.create(vectors.shape[1], factory, len(vectors))
    store.train(lambda most: vectors)
    store.add(ids, vectors)
    return store


IDS = np.random.default_rng(9).permutation(400).astype(np.int64) + 2**62


def test_an_exact_index_equals_numpy() -> None:
    vectors, queries = unit(400), unit(30, seed=1)
    ids, scores = filled("Flat", vectors, IDS).search(queries, 7)
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    order = np.argsort(-exact, axis=1)[:, :7]
    assert np.array_equal(ids, IDS[order])
    assert np.allclose(scores, np.take_along_axis(exact, order, axis=1), rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("factory", "least"),
    [("HNSW16", 0.95), ("IVF16,Flat", 0.5), ("SQ8", 0.95), ("PCA12,Flat", 0.3), ("PQ4x4", 0.2)],
)
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_other_factories_find_most(factory: str, least: float) -> None:
    vectors, queries = unit(400), unit(50, seed=1)
    ids, scores = filled(factory, vectors, IDS).search(queries, 10)
    order = np.argsort(-queries @ vectors.T, axis=1)[:, :10]
    hits = [len(set(row) & set(IDS[best])) for row, best in zip(ids, order, strict=True)]
    assert np.mean(hits) / 10 >= least
    assert (np.diff(scores, axis=1) <= 1e-6).all()


def test_where_there_are_fewer(tmp_path: Path) -> None:
    vectors = unit(3)
    ids, scores = filled("Flat", vectors, IDS[:3]).search(vectors[:1], 5)
    assert ids[0, 3:].tolist() == [-1, -1]
    assert scores[0, 3:].tolist() == [-np.inf, -np.inf]
    assert ids[0, 0] == IDS[0]


def test_ids_survive_the_file(tmp_path: Path) -> None:
    vectors = unit(20)
    store = filled("Flat", vectors, IDS[:20])
    store.save(tmp_path / "index.faiss")
    again = FaissStore.load(tmp_path / "index.faiss", 16)
    assert len(again) == 20
    assert np.array_equal(again.ids, IDS[:20])
    assert again.search(vectors, 2)[0].tolist() == store.search(vectors, 2)[0].tolist()
    with pytest.raises(DataError, match="an id comes twice"):
        again.add(IDS[:1], vectors[:1])


@pytest.mark.parametrize(
    "factory",
    ["", "nonsense", "IVF0,Flat", "HNSW0", "PQ7", "LSH", "IDMap2,Flat", "IVF99999999999,Flat", "PCA0,Flat"],
)
def test_an_unknown_factory_string(factory: str) -> None:
    with pytest.raises(UsageError, match=f"cannot make an index of '{factory}'.*Flat"):
        FaissStore.create(16, factory, 1000)


@pytest.mark.parametrize(
    ("factory", "setting"),
    [
        ("IVF16,Flat@nprobe=3", {"nprobe": 3}),
        ("HNSW16@efSearch=17", {"efSearch": 17}),
        ("IVF16,SQ4,Refine(SQ8)@nprobe=5,k_factor_rf=6", {"nprobe": 5, "k_factor": 6}),
        ("IVF16,Flat", {"nprobe": 2}),  # an eighth of the lists
        ("HNSW16", {"efSearch": 64}),
    ],
)
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_settings_of_search_are_kept_in_the_file(factory: str, setting: dict[str, int], tmp_path: Path) -> None:
    filled(factory, unit(400), IDS).save(tmp_path / "index.faiss")
    index = faiss.read_index(str(tmp_path / "index.faiss"))
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index
    ivf = faiss.try_extract_index_ivf(inner)
    found = {
        "nprobe": getattr(ivf, "nprobe", None), "k_factor": getattr(inner, "k_factor", None),
        "efSearch": inner.hnsw.efSearch if hasattr(inner, "hnsw") else None,
    }  # fmt: skip
    assert {name: value for name, value in found.items() if value is not None} == setting
    assert len(FaissStore.load(tmp_path / "index.faiss", 16).search(unit(1), 3)[0][0]) == 3


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("IVF16,Flat@nprobes=3", "no setting of search 'nprobes'. Did you mean 'nprobe'?.*Known: efSearch, k_factor"),
        ("IVF16,Flat@nprobe=0", "'nprobe' of a search cannot be set: observed '0', expected a number above 0"),
        ("IVF16,Flat@nprobe", "observed ''"),
        ("IVF16,Flat@", "no setting of search ''"),
        ("Flat@nprobe=3", "this kind of FAISS index has no 'nprobe'. It is a setting of inverted files"),
        ("@nprobe=3", "cannot make an index of '@nprobe=3'"),
    ],
)
def test_wrong_settings_of_search(factory: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FaissStore.create(16, factory, 1000)


def test_a_file_that_maps_ids_both_ways_is_read(tmp_path: Path) -> None:
    vectors = unit(30)
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(16))
    index.add_with_ids(vectors, IDS[:30])
    faiss.write_index(index, str(tmp_path / "index.faiss"))
    store = FaissStore.load(tmp_path / "index.faiss", 16)
    store.remove(IDS[:10])
    ids, scores = store.search(vectors[10:12], 20)
    assert np.array_equal(ids[:, 0], IDS[10:12])
    assert scores[0, 0] == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("factory", ["IVF500,Flat", "PQ8", "OPQ4,PQ4"])
def test_too_few_vectors_to_train(factory: str) -> None:
    with pytest.raises(UsageError, match=r"too few vectors.*observed 100, expected at least (500|256)"):
        filled(factory, unit(100), IDS[:100])


@pytest.mark.parametrize(("factory", "wanted"), [("IVF16,Flat", "624"), ("PQ4x4", "624"), ("IVF16,SQ8", "624")])
def test_few_vectors_to_train_are_one_warning_of_ours(
    factory: str, wanted: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(UserWarning, match=f"trained with 400 vectors, and FAISS asks for {wanted} or more") as told:
        filled(factory, unit(400), IDS)
    assert len(told) == 1
    assert capfd.readouterr().err == ""


def test_what_else_is_said_while_it_trains_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    wanted: list[int] = []
    with _wishes(wanted):
        os.write(2, b"WARNING clustering 9 points to 4 centroids: please provide at least 156 training points\nelse\n")
    assert (wanted, capfd.readouterr().err) == ([156], "else\n")


def test_guards() -> None:
    vectors = unit(4)
    store = FaissStore.create(16, "Flat", 10)
    with pytest.raises(DataError, match="wrong shape"):
        store.add(IDS[:4], vectors[:, :8])
    for value, message in ((np.nan, "NaN or inf"), (np.inf, "NaN or inf"), (2.0, "not of unit length")):
        bad = vectors.copy()
        bad[2, 0] = value
        with pytest.raises(DataError, match=message):
            store.add(IDS[:4], bad)
    with pytest.raises(DataError, match="do not match: observed 3, expected 4"):
        store.add(IDS[:3], vectors)
    with pytest.raises(DataError, match="an id comes twice: observed 5"):
        store.add(np.array([3, 5, 5, 7]), vectors)
    assert len(store) == 0
    store.add(np.array([1, 2, 3, 4]), vectors)
    with pytest.raises(DataError, match="an id comes twice: observed 3"):
        store.add(np.array([3]), vectors[:1])
    assert len(store) == 4


def test_no_index(tmp_path: Path) -> None:
    (tmp_path / "index.faiss").write_bytes(b"no index at all")
    with pytest.raises(DamagedArtifact, match="cannot be read by FAISS"):
        FaissStore.load(tmp_path / "index.faiss", 16)


def test_another_index(tmp_path: Path) -> None:
    faiss.write_index(faiss.IndexFlatL2(16), str(tmp_path / "index.faiss"))
    with pytest.raises(DamagedArtifact, match="not an index by stable ids"):
        FaissStore.load(tmp_path / "index.faiss", 16)
    filled("Flat", unit(3), IDS[:3]).save(tmp_path / "index.faiss")
    with pytest.raises(DamagedArtifact, match="another dimension: observed 16, expected 8"):
        FaissStore.load(tmp_path / "index.faiss", 8)


def test_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"'faiss-cpu' is not installed.*hetsearch\[gallery\]"):
        FaissStore.create(16, "Flat", 1)


REMOVABLE = ("Flat", "SQ8", "IVF4,Flat", "IVF4,SQ8", "PCA8,IVF4,Flat", "IVF4,RaBitQ")


@pytest.mark.parametrize("factory", REMOVABLE)
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_what_is_removed_is_never_found_and_the_rest_keeps_its_ids(factory: str, tmp_path: Path) -> None:
    vectors = unit(200)
    store = filled(factory, vectors, IDS[:200])
    assert store.removable
    store.remove(IDS[:150:2])
    store.save(tmp_path / "index.faiss")
    again = FaissStore.load(tmp_path / "index.faiss", 16)
    kept = np.setdiff1d(IDS[:200], IDS[:150:2])
    assert np.array_equal(np.sort(again.ids), kept)
    assert len(again) == len(kept) == 125
    # An exact store that never held the others is the reference.
    exact = filled("Flat", vectors[np.isin(IDS[:200], kept)], IDS[:200][np.isin(IDS[:200], kept)])
    found, best = again.search(vectors, 125)[0], exact.search(vectors, 125)[0]
    assert set(found[found >= 0].tolist()) <= set(kept.tolist())
    if factory == "Flat":
        assert np.array_equal(found, best)
    own = np.isin(IDS[:200], kept)
    assert (found[own, 0] == IDS[:200][own]).mean() > 0.6
    again.add(IDS[:1], vectors[:1])
    assert len(again) == 126
    with pytest.raises(DataError, match="an id comes twice"):
        again.add(IDS[1:2], vectors[1:2])


@pytest.mark.parametrize("factory", ["HNSW8", "Flat,Refine(SQ8)"])
def test_an_index_that_cannot_remove_says_so(factory: str) -> None:
    store = filled(factory, unit(50), IDS[:50])
    assert not store.removable
    with pytest.raises(UsageError, match=r"cannot remove vectors\. Build the index anew"):
        store.remove(IDS[:1])
    assert len(store) == 50


def test_what_is_not_there_cannot_be_removed() -> None:
    store = filled("Flat", unit(5), IDS[:5])
    with pytest.raises(DataError, match="is not there"):
        store.remove(IDS[4:6])
    with pytest.raises(DataError, match="an id comes twice"):
        store.remove(IDS[[0, 0]])
    assert len(store) == 5


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF16,SQ8", "HNSW16", "IVF16,Flat"])
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_the_size_is_known_before(factory: str, tmp_path: Path) -> None:
    vectors = unit(400)
    expected = FaissStore.create(16, factory, 400).bytes_for(400)
    filled(factory, vectors, IDS).save(tmp_path / "index.faiss")
    assert (tmp_path / "index.faiss").stat().st_size == pytest.approx(expected, rel=0.2)


def test_a_disk_that_takes_nothing(tmp_path: Path) -> None:
    store = filled("Flat", unit(5), IDS[:5])
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        store.save(tmp_path / "file" / "index.faiss")


@pytest.mark.parametrize("less", [1, 4097])
def test_a_disk_that_does_not_take_the_last_bytes(tmp_path: Path, less: int) -> None:
    store = filled("Flat", unit(400), IDS)
    store.save(tmp_path / "whole.faiss")
    with file_limit((tmp_path / "whole.faiss").stat().st_size - less), pytest.raises(OSError, match=r"index\.faiss"):
        store.save(tmp_path / "index.faiss")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.faiss"]


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "HNSW8", "IVF4,Flat", "PCA8,Flat"])
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_memory_taken_ahead_changes_nothing(factory: str) -> None:
    vectors = unit(200)
    ahead = filled(factory, vectors, IDS[:200])
    store = FaissStore.create(16, factory, 10_000)
    store.train(lambda most: vectors)
    for start in range(0, 200, 50):
        store.add(IDS[start : start + 50], vectors[start : start + 50])
    assert len(store) == 200
    assert np.array_equal(store.search(vectors, 5)[0], ahead.search(vectors, 5)[0])


@pytest.mark.parametrize("factory", ["IVF8,Flat", "IVF8,SQ8", "PCA12,IVF8,Flat"])
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_lists_lie_where_they_lay_when_vectors_come(factory: str) -> None:
    vectors, ids = unit(4000), np.arange(4000)

    def places(expected: int | None) -> list[bool]:
        store = FaissStore.create(16, factory, expected)
        store.train(lambda most: vectors[:2000])
        store.add(ids[:400], vectors[:400])
        lists = faiss.extract_index_ivf(store._index).invlists
        first = [int(lists.get_codes(number)) for number in range(8)]
        for start in range(400, 4000, 400):
            store.add(ids[start : start + 400], vectors[start : start + 400])
        return [int(lists.get_codes(number)) == place for number, place in enumerate(first)]

    assert sum(places(4000)) >= 7  # a list may get more than its share of the sample
    assert not any(places(None))
