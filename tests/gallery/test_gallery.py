from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hetsearch.data.images import ImageSet
from hetsearch.errors import DamagedArtifact, DataError, SpaceMismatch, UsageError
from hetsearch.gallery import Hit, build_gallery, open_gallery, verify_gallery
from hetsearch.gallery import gallery as module
from hetsearch.gallery.ids import stable_ids
from hetsearch.runtime import OnnxEncoder
from hetsearch.space import Embeddings
from tests.gallery.scripted import reseal
from tests.support import OTHER_SPACE, SPACE

Fashion = tuple[np.ndarray, np.ndarray]


def brute_force(query: np.ndarray, vectors: np.ndarray, keys: tuple[str, ...], k: int) -> list[list[str]]:
    """Score descending at 9 decimals, then key ascending, by sorting everything."""
    scores = np.round(query.astype(np.float64) @ vectors.T.astype(np.float64), 9)
    return [[key for _, key in sorted(zip(-row, keys, strict=True))[:k]] for row in scores]


def test_real_pictures_are_found_as_by_brute_force(
    built: Path, encoder: OnnxEncoder, images: ImageSet, fashion_test: Fashion
) -> None:
    query = encoder.encode(fashion_test[0][300:400])
    vectors = encoder.encode(fashion_test[0][:300]).vectors
    hits = open_gallery(built).search(query, k=10)
    assert [[hit.key for hit in row] for row in hits] == brute_force(query.vectors, vectors, images.keys, 10)
    exact = query.vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    assert np.allclose([[hit.score for hit in row] for row in hits], -np.sort(-exact)[:, :10], atol=2e-7)
    labels = dict(zip(images.keys, images.labels, strict=True))
    assert all(hit.item == {"label": labels[hit.key]} for row in hits for hit in row)


def test_what_it_knows(built: Path, images: ImageSet) -> None:
    gallery = open_gallery(str(built))
    assert (gallery.space, gallery.dim, len(gallery)) == (SPACE, 16, 300)
    assert gallery.items.column_names == ["key", "id", "label"]
    assert gallery.items["key"].to_pylist() == list(images.keys)
    assert gallery.items["id"].to_pylist() == stable_ids(images.keys).tolist()
    assert "300 items" in repr(gallery)


def test_another_space_is_refused_with_both_ids(built: Path, encoder: OnnxEncoder) -> None:
    query = Embeddings(encoder.encode(np.zeros((9, 9), np.uint8)).vectors, OTHER_SPACE, ("q",))
    with pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}") as caught:
        open_gallery(built).search(query)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("k", [0, -1])
def test_a_k_below_one(built: Path, encoder: OnnxEncoder, k: int) -> None:
    with pytest.raises(UsageError, match=f"k is too small: observed {k}"):
        open_gallery(built).search(encoder.encode(np.zeros((9, 9), np.uint8)), k)


def test_a_k_above_the_gallery_gives_all_and_a_warning(built: Path, encoder: OnnxEncoder) -> None:
    query = encoder.encode(np.zeros((9, 9), np.uint8))
    with pytest.warns(UserWarning, match="k is 301, but the gallery has 300 items"):
        hits = open_gallery(built).search(query, 301)[0]
    assert len({hit.key for hit in hits}) == 300
    assert len(open_gallery(built).search(query, 300)[0]) == 300


def test_bad_query_vectors(built: Path) -> None:
    gallery = open_gallery(built)
    unit = np.zeros((2, 16), np.float32)
    unit[:, 0] = 1
    for vectors, message in (
        (unit[:, :8], r"wrong shape: observed \(2, 8\), expected \(n, 16\)"),
        (unit * np.float32(np.nan), "NaN"),
        (unit * np.float32(1.1), "not of unit length"),
    ):
        with pytest.raises(DataError, match=message):
            gallery.search(Embeddings(vectors, SPACE, ("a", "b")))


def test_no_query_no_hits(built: Path, encoder: OnnxEncoder) -> None:
    assert open_gallery(built).search(encoder.encode([])) == []


@pytest.mark.parametrize("count", [40, 300])
def test_ties_go_by_key_even_where_they_are_cut(encoder: OnnxEncoder, tmp_path: Path, count: int) -> None:
    picture = np.arange(81, dtype=np.uint8).reshape(9, 9)
    keys = tuple(f"k{(row * 7919) % 1000:03d}" for row in range(count))
    build_gallery(encoder, ImageSet("same", keys, lambda row: picture), tmp_path / "g", progress=False)
    hits = open_gallery(tmp_path / "g").search(encoder.encode(picture), 5)[0]
    assert [hit.key for hit in hits] == sorted(keys)[:5]
    assert {hit.score for hit in hits} == {hits[0].score}
    assert hits[0].score == pytest.approx(1, abs=1e-6)


def test_a_hit_is_a_value() -> None:
    assert Hit("a", 0.5, {"label": "x"}) == Hit("a", 0.5, {"label": "x"})


def test_only_queries_with_ties_are_asked_again(
    built: Path, encoder: OnnxEncoder, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = open_gallery(built)
    asked: list[tuple[int, int]] = []
    search = gallery._store.search

    def counted(vectors: np.ndarray, k: int, among: None) -> tuple[np.ndarray, np.ndarray]:
        asked.append((len(vectors), k))
        ids, scores = search(vectors, k)
        # The third query finds everything equally near, whatever is asked for.
        same = np.isin(vectors @ queries[2], [queries[2] @ queries[2]])
        scores[same] = 0.5
        return ids, scores

    queries = encoder.encode([images.read(row) for row in range(5)]).vectors
    monkeypatch.setattr(gallery._store, "search", counted)
    hits = gallery.search(Embeddings(queries, SPACE, tuple("abcde")), 3)
    assert asked == [(5, 5), (1, 11), (1, 35), (1, 131), (1, 300)]
    assert [hit.key for hit in hits[2]] == sorted(hit.key for hit in hits[2])
    assert [hits[row][0].key for row in (0, 1, 3, 4)] == [images.keys[row] for row in (0, 1, 3, 4)]


def test_one_place_short(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    """An approximate index that finds all but one gives no hit for the last place."""
    gallery = open_gallery(build_gallery(encoder, images, tmp_path / "g", limit=5, progress=False).gallery)
    search = gallery._store.search

    def short(vectors: np.ndarray, k: int, among: None) -> tuple[np.ndarray, np.ndarray]:
        ids, scores = search(vectors, k)
        ids[:, -1], scores[:, -1] = -1, -np.inf
        return ids, scores

    gallery._store.search = short
    query = encoder.encode(images.read(0))
    assert [len(gallery.search(query, k)[0]) for k in (3, 4, 5)] == [3, 4, 4]


@pytest.mark.parametrize("name", ["index.faiss", "items.parquet"])
@pytest.mark.parametrize("place", [60, -60])
def test_a_changed_byte_is_found(copy: Path, name: str, place: int) -> None:
    payload = bytearray((copy / name).read_bytes())
    payload[place] ^= 1
    (copy / name).write_bytes(payload)
    with pytest.raises(DamagedArtifact, match=f"{name}' was changed"):
        open_gallery(copy)


@pytest.mark.parametrize("name", ["index.faiss", "items.parquet"])
def test_a_missing_file_is_found(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(DamagedArtifact, match=f"no {name}"):
        open_gallery(copy)


def test_items_and_vectors_cannot_drift_apart(copy: Path) -> None:
    table = pq.read_table(copy / "items.parquet")
    pq.write_table(table.slice(0, 299), copy / "items.parquet")
    reseal(copy)
    with pytest.raises(DamagedArtifact, match="observed 300 vectors, 299 items, expected 300 of both"):
        open_gallery(copy)
    keys = table["key"].to_pylist()
    renamed = table.set_column(0, "key", pa.array(["renamed", *keys[1:]]))
    pq.write_table(renamed, copy / "items.parquet")
    reseal(copy)
    with pytest.raises(DamagedArtifact, match="ids of items that are not those of their keys"):
        open_gallery(copy)
    both = renamed.set_column(1, "id", pa.array(stable_ids(renamed["key"].to_pylist())))
    pq.write_table(both, copy / "items.parquet")
    reseal(copy)
    with pytest.raises(DamagedArtifact, match="not those of the vectors"):
        open_gallery(copy)
    twice = table.set_column(0, "key", pa.array([keys[1], *keys[1:]]))
    pq.write_table(twice, copy / "items.parquet")
    reseal(copy)
    with pytest.raises(DamagedArtifact, match="a key comes twice"):
        open_gallery(copy)


def test_an_approximate_index_gives_what_it_finds(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    build_gallery(encoder, images, tmp_path / "g", factory="IVF7,Flat", progress=False)
    hits = open_gallery(tmp_path / "g").search(encoder.encode(images.read(0)), 300)[0]
    assert 1 <= len(hits) < 300
    assert hits[0].key == images.keys[0]


def test_a_large_index_is_known_by_its_size(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULLY_READ", 100)
    payload = bytearray((copy / "index.faiss").read_bytes())
    payload[-300] ^= 1  # in a vector or an id
    (copy / "index.faiss").write_bytes(payload)
    with pytest.raises(DamagedArtifact, match=r"index\.faiss' was changed"):
        verify_gallery(copy)
    (copy / "index.faiss").write_bytes(payload + b"0")
    for verify in (True, False):
        with pytest.raises(DamagedArtifact, match=r"index\.faiss' was changed.*observed .* bytes, expected"):
            open_gallery(copy, verify=verify)


FILTERS = [
    {"label": "class 3"},
    {"label": ["class 3", "class 8", "no such class"]},
    {"label": ["class 1", "class 2"], "key": [f"test-{row:05d}" for row in range(0, 300, 2)]},
]


@pytest.mark.parametrize("factory", ["Flat", "HNSW8", "SQ8", "IVF8,Flat", "PCA8,IVF4,Flat", "Flat,Refine(SQ8)"])
@pytest.mark.parametrize("where", FILTERS)
def test_a_filter_finds_the_best_of_what_it_keeps_with_every_kind_of_index(
    factory: str, where: dict[str, str | list[str]], encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # FAISS would like more vectors to train with
        build_gallery(encoder, images, tmp_path / "g", factory=factory, progress=False)
    assert images.labels is not None
    fields = {"label": images.labels, "key": images.keys}
    kept = [row for row in range(len(images)) if all(fields[name][row] in wanted for name, wanted in where.items())]
    gallery = open_gallery(tmp_path / "g")
    query = encoder.encode([images.read(row) for row in (3, 50, 299)])
    hits = gallery.search(query, 7, where)
    found = [{hit.key for hit in row} for row in hits]
    assert all(keys <= {images.keys[row] for row in kept} and len(keys) == 7 for keys in found)
    if factory in ("Flat", "HNSW8", "IVF8,Flat"):  # these keep the vectors as they are
        vectors = encoder.encode([images.read(row) for row in kept]).vectors
        expected = brute_force(query.vectors, vectors, tuple(images.keys[row] for row in kept), 7)
        assert [[hit.key for hit in row] for row in hits] == expected


def test_a_filter_that_keeps_less_than_k(built: Path, encoder: OnnxEncoder) -> None:
    query = encoder.encode(np.zeros((2, 9, 9), np.uint8))
    gallery = open_gallery(built)
    with pytest.warns(UserWarning, match="k is 10, but the filtered gallery has 2 items"):
        hits = gallery.search(query, 10, {"key": ["test-00004", "test-00007"]})
    assert [sorted(hit.key for hit in row) for row in hits] == [["test-00004", "test-00007"]] * 2
    with pytest.warns(UserWarning, match="has 0 items"):
        assert gallery.search(query, 10, {"label": "Hovercraft"}) == [[], []]
    assert gallery.search(query, 3, {}) == gallery.search(query, 3)


@pytest.mark.parametrize("field", ["lable", "domain", "id", "path"])
def test_a_filter_on_an_unknown_field(field: str, built: Path, encoder: OnnxEncoder) -> None:
    with pytest.raises(UsageError, match=f"no field '{field}'.*Known: key, label"):
        open_gallery(built).search(encoder.encode(np.zeros((9, 9), np.uint8)), 1, {field: "x"})


def test_an_item_by_its_key(built: Path, images: ImageSet) -> None:
    gallery = open_gallery(built)
    assert images.labels is not None
    assert gallery.item("test-00042") == {"key": "test-00042", "label": images.labels[42]}
    assert gallery.item("test-99999") is None
