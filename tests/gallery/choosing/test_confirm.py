from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.gallery import Limits, build_gallery, open_gallery
from hetsearch.gallery.card import read_card
from hetsearch.gallery.choosing import choose, confirm
from hetsearch.gallery.embedding.shards import open_shards
from hetsearch.gallery.stores.faiss_store import FaissStore
from hetsearch.runtime import OnnxEncoder

Fashion = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def many(fashion_train: Fashion, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """More images than the sample: what is chosen on it is an estimate."""
    monkeypatch.setattr(choose, "SAMPLE", 200)
    monkeypatch.setattr(choose, "QUERIES", 20)
    pixels = fashion_train[0]
    return ImageSet("many", tuple(f"k{row:05d}" for row in range(len(pixels))), ArrayReader(pixels))


def exact_recall(out: Path, store: FaissStore, queries: np.ndarray) -> float:
    """By brute force over the shards, each query left out of its own answer."""
    shards = list(open_shards(out / "embeddings"))
    vectors = np.concatenate([shard.vectors for shard in shards]).astype(np.float64)
    ids = np.concatenate([shard.ids for shard in shards])
    exact = queries.astype(np.float64) @ vectors.T
    own = exact.argmax(axis=1)
    found = store.search(queries, 11)[0]
    shares = []
    for row, self in enumerate(own):
        others = [place for place in np.argsort(-exact[row], kind="stable") if place != self][:10]
        shares.append(len(set(ids[others]) & (set(found[row]) - {ids[self]})) / 10)
    return float(np.mean(shares))


def test_the_setting_is_raised_until_the_finished_index_finds_enough(
    encoder: OnnxEncoder, many: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, limits = tmp_path / "g", Limits(min_recall=0.97)
    cheapest = choose.Candidate("HNSW8@efSearch=1", 1, False, 0.99, 0.1)
    kind = choose.Kind("HNSW8", tuple(f"efSearch={2**power}" for power in range(9)), 16, None)
    monkeypatch.setattr(choose, "measured", lambda trial, limits: iter([cheapest]))
    monkeypatch.setattr(confirm, "kinds", lambda dim, count, sample: (kind,))
    report = build_gallery(encoder, many, out, factory="auto", limits=limits, progress=False)
    choice = read_card(out).choice
    assert choice is not None
    assert choice.confirmed is not None
    assert choice.estimated
    assert choice == report.choice
    description, _, setting = choice.factory.partition("@efSearch=")
    assert (description, report.factory, read_card(out).factory) == ("HNSW8", choice.factory, choice.factory)
    assert int(setting) > 1
    store = FaissStore.load(out / read_card(out).index, 16)  # as it was saved, with its setting
    queries = choose.sample_of(open_shards(out / "embeddings"), confirm.QUERIES)
    assert choice.confirmed.queries == len(queries) == 200
    assert choice.confirmed.recall == pytest.approx(exact_recall(out, store, queries), abs=2e-3)
    assert choice.confirmed.recall >= 0.97
    store.configure(f"efSearch={int(setting) // 2}")
    assert exact_recall(out, store, queries) < 0.97  # it is the cheapest that does
    assert choice.candidates == (cheapest,)
    assert len(open_gallery(out)) == len(many)


def test_limits_that_are_not_met_after_all_are_said(
    encoder: OnnxEncoder, many: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promised = choose.Candidate("PQ4x4", 1, True, 0.99, 0.1)
    monkeypatch.setattr(choose, "measured", lambda trial, limits: iter([promised]))
    with pytest.warns(UserWarning, match=r"does not meet --min-recall: among all .* recall@10 of 0\.\d+") as caught:
        report = build_gallery(encoder, many, tmp_path / "g", factory="auto", progress=False)
    assert any(warning.filename == __file__ for warning in caught)
    assert report.choice.factory == "PQ4x4"
    assert 0 < report.choice.confirmed.recall < 0.95


def test_where_the_sample_was_all_nothing_is_left_to_confirm(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    report = build_gallery(encoder, images, tmp_path / "g", factory="auto", progress=False)
    assert report.choice.confirmed is None


def test_of_the_same_picture_many_times_any_is_right(
    encoder: OnnxEncoder, tmp_path: Path, many: ImageSet
) -> None:
    pixels = np.tile(np.arange(81, dtype=np.uint8).reshape(1, 9, 9), (400, 1, 1))
    same = ImageSet("same", tuple(f"k{row:03d}" for row in range(400)), ArrayReader(pixels))
    report = build_gallery(encoder, same, tmp_path / "g", factory="auto", progress=False)
    assert report.choice.estimated
    assert report.choice.confirmed.recall == 1.0
