"""What holds for every store: an index file, a database file, a database server; first the store, then a gallery."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.errors import DataError, SpaceMismatch, UsageError
from hetsearch.gallery import (
    backfill_gallery,
    build_gallery,
    compact_gallery,
    delete_items,
    open_gallery,
    plan_gallery,
    rollback_upgrade,
    update_gallery,
    upgrade_gallery,
    verify_gallery,
)
from hetsearch.gallery.card import GalleryCard
from hetsearch.gallery.jobs import generation as switch
from hetsearch.gallery.stores.store import LiveStore, store_backend, store_kind
from hetsearch.preprocess import InputSpec
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.space import Embeddings
from tests.gallery.scripted import Scripted
from tests.pair import Pair
from tests.support import OTHER_SPACE, SPACE, linear_bundle

Fashion = tuple[np.ndarray, np.ndarray]
IDS = np.random.default_rng(9).permutation(400).astype(np.int64) + 2**62
PLACES = ("faiss", "milvus file", "milvus server")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What tells ``build_gallery`` where the store lives."""
    kind, _, where = request.param.partition(" ")
    if kind == "milvus":
        pytest.importorskip("pymilvus")
        pytest.importorskip("milvus_lite")
    return {"store": kind, "uri": request.getfixturevalue("address") if where == "server" else None}


@dataclass
class Bench:
    """Stores without a gallery around them."""

    out: Path
    place: dict[str, Any]

    def card(self, count: int, factory: str = "Flat", **fields: Any) -> GalleryCard:
        return GalleryCard(
            space=SPACE, dim=16, encoder="e", input=InputSpec(), store=self.place["store"], factory=factory,
            count=count, index=self.place["uri"] or "", images="set", listing="abc", **fields,
        )  # fmt: skip

    def filled(self, ids: np.ndarray, vectors: np.ndarray, factory: str = "Flat") -> LiveStore:
        card = self.card(len(ids), factory)

        def fill(store: LiveStore) -> None:
            store.train(lambda most: vectors)
            half = len(ids) // 2
            store.add(ids[:half], vectors[:half])
            store.add(ids[half:], vectors[half:])

        index = store_backend(self.out, card).write(card, None, fill)
        return store_kind(card.store).load(self.out, card.model_copy(update={"index": index}))


@pytest.fixture
def bench(place: dict[str, Any], tmp_path: Path) -> Bench:
    return Bench(tmp_path, place)


def unit(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_an_exact_store_equals_numpy(bench: Bench) -> None:
    vectors, queries = unit(400), unit(30, seed=1)
    store = bench.filled(IDS, vectors)
    assert len(store) == 400
    ids, scores = store.search(queries, 7)
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    order = np.argsort(-exact, axis=1)[:, :7]
    assert np.array_equal(ids, IDS[order])
    assert np.allclose(scores, np.take_along_axis(exact, order, axis=1), rtol=0, atol=1e-15)


def test_where_there_are_fewer(bench: Bench) -> None:
    vectors = unit(3)
    ids, scores = bench.filled(IDS[:3], vectors).search(vectors[:2], 5)
    assert ids[:, 3:].tolist() == [[-1, -1]] * 2
    assert scores[:, 3:].tolist() == [[-np.inf, -np.inf]] * 2
    assert ids[:, 0].tolist() == IDS[:2].tolist()


@pytest.mark.parametrize("factory", ["Flat", "HNSW16", "IVF16,Flat"])
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_among_some_ids_every_index_is_exact(bench: Bench, factory: str) -> None:
    vectors, queries = unit(400), unit(30, seed=1)
    store = bench.filled(IDS, vectors, factory)
    for rows in (np.arange(0, 400, 7), np.array([399, 3]), np.arange(400)):
        ids, scores = store.search(queries, 5, IDS[rows])
        exact = queries.astype(np.float64) @ vectors[rows].T.astype(np.float64)
        order = np.argsort(-exact, axis=1)[:, :5]
        there = order.shape[1]
        assert np.array_equal(ids[:, :there], IDS[rows][order])
        assert np.allclose(scores[:, :there], np.take_along_axis(exact, order, axis=1), rtol=0, atol=2e-7)
        assert (ids[:, there:] == -1).all()
        assert np.isneginf(scores[:, there:]).all()


@pytest.mark.parametrize("factory", ["HNSW16", "IVF16,Flat", "IVF16,SQ8"])
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_other_factories_find_most(bench: Bench, factory: str) -> None:
    vectors, queries = unit(400), unit(50, seed=1)
    ids, scores = bench.filled(IDS, vectors, factory).search(queries, 10)
    order = np.argsort(-queries @ vectors.T, axis=1)[:, :10]
    hits = [len(set(row) & set(IDS[best])) for row, best in zip(ids, order, strict=True)]
    assert np.mean(hits) / 10 >= (0.95 if factory == "HNSW16" else 0.4)
    assert (np.diff(scores, axis=1)[ids[:, 1:] >= 0] <= 0).all()


def test_what_a_store_refuses(bench: Bench) -> None:
    vectors = unit(6)
    store = bench.filled(IDS[:4], vectors[:4])
    for value, message in ((np.nan, "NaN or inf"), (np.inf, "NaN or inf"), (2.0, "not of unit length")):
        bad = vectors[4:].copy()
        bad[1, 0] = value
        with pytest.raises(DataError, match=message):
            store.add(IDS[4:6], bad)
    with pytest.raises(DataError, match="wrong shape"):
        store.add(IDS[4:6], vectors[4:, :8])
    with pytest.raises(DataError, match="do not match: observed 1, expected 2"):
        store.add(IDS[4:5], vectors[4:])
    for twice in (IDS[[4, 4]], IDS[[3, 4]]):
        with pytest.raises(DataError, match="an id comes twice"):
            store.add(twice, vectors[4:])
    with pytest.raises(DataError, match="is not there"):
        store.remove(IDS[3:5])
    with pytest.raises(DataError, match="an id comes twice"):
        store.remove(IDS[[0, 0]])
    assert len(store) == 4


def test_what_is_removed_is_not_found_until_it_is_added_again(bench: Bench) -> None:
    vectors = unit(200)
    store = bench.filled(IDS[:200], vectors)
    store.remove(IDS[:150:2])
    kept = np.setdiff1d(IDS[:200], IDS[:150:2])
    assert len(store) == len(kept) == 125
    exact = vectors.astype(np.float64) @ vectors[np.isin(IDS[:200], kept)].T.astype(np.float64)
    order = np.argsort(-exact, axis=1)[:, :20]
    assert np.array_equal(store.search(vectors, 20)[0], IDS[:200][np.isin(IDS[:200], kept)][order])
    store.add(IDS[:1], vectors[:1])
    assert len(store) == 126
    assert store.search(vectors[:1], 1)[0].tolist() == [[IDS[0]]]


def test_what_cannot_be_built_is_refused_before_the_job(
    place: dict[str, Any], encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    scripted = Scripted(encoder)
    with pytest.raises(UsageError, match=r"cannot make an index of 'nonsense'.*Flat"):
        build_gallery(scripted, images, tmp_path / "g", factory="nonsense", progress=False, **place)
    with pytest.raises(UsageError, match="too few vectors"):
        build_gallery(scripted, images, tmp_path / "g", factory="IVF400,Flat", progress=False, **place)
    assert (scripted.calls, (tmp_path / "g").exists()) == (0, False)


Make = Callable[..., Path]


@pytest.fixture
def make(place: dict[str, Any], encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> Make:
    def made(count: int = 300, **options: Any) -> Path:
        some = images.subset(range(count))
        build_gallery(encoder, some, tmp_path / "g", shard_rows=128, progress=False, **place, **options)
        return tmp_path / "g"

    return made


def changed(images: ImageSet, fashion_test: Fashion) -> ImageSet:
    """Of 300: ten are gone, ten are new, ten have another picture, ten another key, ten another label."""
    pixels = fashion_test[0]
    rows = np.arange(10, 310)
    keys = [f"test-{row:05d}" for row in rows]
    keys[20:30] = [f"renamed {row}" for row in range(10)]
    labels = [f"class {fashion_test[1][row]}" for row in rows]
    labels[40:50] = ["another"] * 10
    rows[60:70] = np.arange(400, 410)
    return ImageSet("slice", tuple(keys), ArrayReader(pixels[rows]), tuple(labels))


def test_the_same_hits_as_the_index_file(
    make: Make, built: Path, encoder: OnnxEncoder, fashion_test: Fashion
) -> None:
    gallery, reference = open_gallery(make()), open_gallery(built)
    query = encoder.encode(fashion_test[0][300:400])
    assert gallery.search(query, 10) == reference.search(query, 10)
    assert gallery.search(query, 1) == reference.search(query, 1)
    assert gallery.items.equals(reference.items)
    one = Embeddings(query.vectors[:1], SPACE, ("q",))
    with pytest.warns(UserWarning, match="k is 301, but the gallery has 300 items"):
        hits = gallery.search(one, 301)
    assert hits == reference.search(one, 300)


@pytest.mark.parametrize("count", [40, 300])
def test_ties_go_by_key_even_where_they_are_cut(
    place: dict[str, Any], encoder: OnnxEncoder, tmp_path: Path, count: int
) -> None:
    picture = np.arange(81, dtype=np.uint8).reshape(9, 9)
    keys = tuple(f"k{(row * 7919) % 1000:03d}" for row in range(count))
    same = ImageSet("same", keys, lambda row: picture)
    build_gallery(encoder, same, tmp_path / "g", progress=False, **place)
    hits = open_gallery(tmp_path / "g").search(encoder.encode(picture), 5)[0]
    assert [hit.key for hit in hits] == sorted(keys)[:5]
    assert {hit.score for hit in hits} == {hits[0].score}


def test_another_space_is_refused(
    make: Make, place: dict[str, Any], encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    out = make(50)
    query = encoder.encode(images.read(0))
    with pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}") as caught:
        open_gallery(out).search(Embeddings(query.vectors, OTHER_SPACE, ("q",)))
    assert caught.value.exit_code == 4
    other = load_encoder(linear_bundle(tmp_path / "other", space=OTHER_SPACE, seed=3))
    for job in (
        lambda: build_gallery(other, images.subset(range(50)), out, progress=False, **place),
        lambda: update_gallery(out, other, images, progress=False),
    ):
        with pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}"):
            job()


def test_a_finished_gallery_is_left_as_it_is(
    make: Make, place: dict[str, Any], encoder: OnnxEncoder, images: ImageSet
) -> None:
    out = make(50)
    before = (out / "gallery.json").read_bytes()
    scripted = Scripted(encoder, name=encoder.name)
    report = build_gallery(scripted, images.subset(range(50)), out, progress=False, **place)
    assert (report.done_before, report.rows, scripted.calls) == (True, 50, 0)
    assert (out / "gallery.json").read_bytes() == before
    assert plan_gallery(encoder, images.subset(range(50)), out, **place).images == 0


def test_an_updated_gallery_answers_as_a_new_one(
    make: Make, encoder: OnnxEncoder, images: ImageSet, fashion_test: Fashion, tmp_path: Path
) -> None:
    out = make()
    reader = open_gallery(out)
    query = encoder.encode(fashion_test[0][410:460])
    before = reader.search(query, 10)
    now = changed(images, fashion_test)
    counted = Scripted(encoder)
    report = update_gallery(out, counted, now, progress=False)
    assert report.line == "10 new, 10 changed, 10 renamed, 10 described anew, 10 removed, 0 failed, 260 unchanged"
    assert (counted.images, report.rows, report.generation) == (20, 300, 2)
    build_gallery(encoder, now, tmp_path / "fresh", progress=False)
    expected = open_gallery(tmp_path / "fresh").search(query, 10)
    assert open_gallery(out).search(query, 10) == expected != before
    assert verify_gallery(out).rows == 300
    # Whoever had it open goes on, in one generation or the other.
    assert reader.search(query, 10) in (before, expected)


def test_delete_upsert_reopen_count(
    make: Make, encoder: OnnxEncoder, images: ImageSet, fashion_test: Fashion, built: Path
) -> None:
    out = make()
    gone = [f"test-{row:05d}" for row in range(0, 150, 3)]
    deleted = delete_items(out, [*gone, "unknown"])
    assert (deleted.removed, deleted.absent, deleted.rows) == (50, ("unknown",), 250)
    assert len(open_gallery(out)) == 250
    query = encoder.encode(fashion_test[0][:60])
    found = {hit.key for row in open_gallery(out).search(query, 10) for hit in row}
    assert not found & set(gone)
    report = update_gallery(out, encoder, images.subset(range(0, 150, 3)), remove=False, progress=False)
    assert (report.new, report.rows, len(open_gallery(out))) == (50, 300, 300)
    hits, reference = open_gallery(out).search(query, 10), open_gallery(built).search(query, 10)
    # Embedded in other batches: the last bits of a vector may differ.
    assert [[hit.key for hit in row] for row in hits] == [[hit.key for hit in row] for row in reference]
    assert compact_gallery(out).dropped == 50
    assert open_gallery(out).search(query, 10) == hits
    report = verify_gallery(out)
    assert (report.rows, report.self_recall, report.recall) == (300, 1.0, 1.0)


def leftovers(out: Path) -> list[str]:
    """What is in the folder that the present generation does not need; a database counts as one."""
    card = json.loads((out / "gallery.json").read_text())
    needed = {*(name.partition("/")[0] for name in card["files"]), card["index"].partition("/")[0], "gallery.json"}
    return sorted(path.name for path in out.iterdir() if path.name not in needed)


def test_a_job_that_is_killed_before_the_switch_leaves_the_old_generation(
    make: Make, encoder: OnnxEncoder, images: ImageSet, fashion_test: Fashion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    query = encoder.encode(fashion_test[0][410:430])
    with monkeypatch.context() as patch:
        patch.setattr(switch, "write_card", killed)
        with pytest.raises(KeyboardInterrupt):
            make(100)
    out = make(100)
    assert leftovers(out) == []
    before, now = open_gallery(out).search(query, 10), changed(images, fashion_test)
    with monkeypatch.context() as patch:
        patch.setattr(switch, "write_card", killed)
        with pytest.raises(KeyboardInterrupt):
            update_gallery(out, encoder, now, progress=False)
    assert open_gallery(out).search(query, 10) == before
    scripted = Scripted(encoder)
    assert update_gallery(out, scripted, now, progress=False).rows == 300
    assert (scripted.images, leftovers(out)) == (0, [])
    assert verify_gallery(out).rows == 300


def test_an_upgraded_gallery_is_the_same_in_every_store(
    place: dict[str, Any], pair: Pair, images: ImageSet, sixty: ImageSet, fashion_test: Fashion, tmp_path: Path
) -> None:
    out, reference = tmp_path / "g", tmp_path / "reference"
    build_gallery(pair.old, sixty, out, shard_rows=16, progress=False, **place)
    build_gallery(pair.old, sixty, reference, shard_rows=16, progress=False)
    older, newer = (encoder.encode(fashion_test[0][300:320]) for encoder in (pair.old, pair.new))
    reader = open_gallery(out)
    before = reader.search(older, 5)
    moved = images.subset(range(5, 65))  # five are gone, five are new
    jobs: list[tuple[Callable[[Path], Any], Embeddings, dict[str, int]]] = [
        (lambda path: upgrade_gallery(path, pair.new, pair.after), newer, {OTHER_SPACE: 0, SPACE: 60}),
        (lambda path: backfill_gallery(path, pair.new, sixty, limit=20, progress=False), newer,
         {OTHER_SPACE: 20, SPACE: 40}),
        (lambda path: update_gallery(path, pair.new, moved, progress=False), newer, {}),
        (rollback_upgrade, older, {}),
    ]  # fmt: skip
    for job, query, spaces in jobs:
        report, wanted = job(out), job(reference)
        assert (report.rows, report.generation) == (wanted.rows, wanted.generation)
        gallery, expected = open_gallery(out), open_gallery(reference)
        assert gallery.search(query, 10) == expected.search(query, 10)
        assert gallery.items.equals(expected.items)
        assert (gallery.space, gallery.card.spaces) == (query.space, expected.card.spaces)
        assert spaces in ({}, gallery.card.spaces)
        assert verify_gallery(out).recall == 1.0
        assert leftovers(out) == []
        if place["uri"]:
            there = open_gallery(place["uri"])
            assert there.search(query, 10) == expected.search(query, 10)
            assert there.items.sort_by("id").equals(expected.items.sort_by("id"))
            assert (there.space, there.card.spaces) == (query.space, expected.card.spaces)
    assert (report.lost, report.restored, report.space) == (5, wanted.restored, SPACE)
    # Whoever had it open before all this goes on: where it was, or where the gallery is now.
    assert reader.search(older, 5) in (before, gallery.search(older, 5))


@pytest.mark.parametrize("step", ["write_card", "settle"])
def test_an_upgrade_that_is_killed_leaves_the_old_space_or_the_new(
    place: dict[str, Any], pair: Pair, sixty: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "g"
    build_gallery(pair.old, sixty, out, progress=False, **place)
    reader = open_gallery(out)
    older, newer = (encoder.encode(sixty.read(3)) for encoder in (pair.old, pair.new))
    with monkeypatch.context() as patch:
        patch.setattr(switch, step, killed)
        with pytest.raises(KeyboardInterrupt):
            upgrade_gallery(out, pair.new, pair.after)
    switched = step == "settle"
    gallery = open_gallery(out)
    assert gallery.space == (OTHER_SPACE if switched else SPACE)
    assert len(gallery.search(newer if switched else older, 3)[0]) == 3
    assert reader.search(older, 1)[0][0].key == sixty.keys[3]
    if place["uri"]:
        assert open_gallery(place["uri"]).space == SPACE  # until the next job, which leads its readers on
    assert upgrade_gallery(out, pair.new, pair.after).nothing == switched
    assert open_gallery(place["uri"] or out).space == OTHER_SPACE
    assert (verify_gallery(out).rows, leftovers(out)) == (60, [])
    if place["uri"]:
        with pytest.raises(SpaceMismatch, match=f"observed {SPACE}, which the gallery was upgraded from"):
            reader.search(older, 1)
