from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.errors import UsageError
from hetsearch.gallery import Limits, build_gallery, open_gallery, plan_gallery, update_gallery
from hetsearch.gallery.card import read_card
from hetsearch.gallery.choosing import choose as module
from hetsearch.gallery.choosing.choice import Candidate
from hetsearch.gallery.choosing.choose import Trial, describe, measured, nothing_meets, sample_of, sized
from hetsearch.gallery.embedding.shards import open_shards
from hetsearch.runtime import OnnxEncoder
from tests.gallery.scripted import Scripted
from tests.gallery.stores.test_faiss_store import unit

Fashion = tuple[np.ndarray, np.ndarray]
FAST = Candidate("HNSW32@efSearch=16", 900, False, 0.91, 1.0)
SMALL = Candidate("SQ8", 200, True, 0.99, 7.21)
EXACT = Candidate("Flat", 800, True, 1.0, 9.0)


def missed(candidate: Candidate, limits: Limits) -> Candidate:
    return Candidate(
        candidate.factory, candidate.bytes, candidate.removable, candidate.recall, candidate.latency_ms,
        missed=limits.missed(candidate.bytes, candidate.latency_ms, candidate.recall),
    )  # fmt: skip


def test_an_error_names_the_nearest_and_each_limit_that_could_give_way_alone() -> None:
    limits = Limits(max_memory=900, max_latency=5.0, min_recall=0.95)
    error = nothing_meets([missed(found, limits) for found in (EXACT, SMALL, FAST)], limits)
    assert error.exit_code == 2
    assert str(error) == (
        "no index meets the limits: observed the nearest is Flat, recall@10 1.000, 9ms, 800B (does not meet "
        "--max-latency), expected recall@10 of 0.95 or more, at most 5ms a query, at most 900B. Relax "
        "--max-latency 7.3ms ('SQ8') or --min-recall 0.91 ('HNSW32@efSearch=16')."
    )
    strict = Limits(max_memory=100, max_latency=5.0)
    error = nothing_meets([missed(SMALL, strict)], strict)
    assert "Relax --max-memory 200B and --max-latency 7.3ms." in str(error)
    for way in (Limits(900, 7.3), Limits(900, 5.0, 0.91)):
        assert [found for found in (EXACT, SMALL, FAST) if not missed(found, way).missed]


def test_a_small_gallery_takes_flat_and_says_what_else_there_was(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    lines: list[str] = []
    report = build_gallery(encoder, images, tmp_path / "g", factory="auto", progress=False, say=lines.append)
    choice = report.choice
    assert choice is not None
    assert (report.factory, choice.factory, choice.asked, choice.limits) == ("Flat", "Flat", "auto", Limits())
    assert [found.factory.partition("@")[0] for found in choice.candidates] == ["Flat", "SQ8", "HNSW32"]
    assert (choice.count, choice.sample, choice.queries, choice.estimated) == (300, 270, 30, False)
    assert choice.candidates[0].recall == 1
    assert all(found.recall == found.sample_recall for found in choice.candidates)
    assert all(found.latency_ms == found.sample_latency_ms > 0 for found in choice.candidates)
    assert lines[0].startswith("choosing an index for 300 vectors: recall@10 of 0.95 or more; measured on 270 of them")
    assert lines[1:] == [describe(found) for found in choice.candidates]
    assert read_card(tmp_path / "g").choice == choice
    document = json.loads((tmp_path / "g" / "gallery.json").read_text())["choice"]
    assert (document["asked"], document["limits"]["min_recall"], len(document["candidates"])) == ("auto", 0.95, 3)
    assert json.loads(json.dumps(report.as_dict()))["choice"]["estimated"] is False


def test_the_choice_lasts(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "g"
    size = {found.factory: found.bytes for found in sized(16, 200, Limits())}
    some, limits = images.subset(range(200)), Limits(max_memory=size["Flat"] - 1)
    report = build_gallery(encoder, some, out, factory="auto", limits=limits, progress=False)
    assert (report.factory, report.choice.limits) == ("SQ8", limits)
    assert (out / "index.faiss").stat().st_size == pytest.approx(size["SQ8"], rel=0.1)
    again = build_gallery(encoder, some, out, factory="auto", limits=limits, progress=False)
    assert (again.done_before, again.factory, again.choice) == (True, "SQ8", report.choice)
    with pytest.warns(UserWarning, match="finished with the factory 'SQ8'; 'auto' is ignored"):
        build_gallery(encoder, some, out, factory="auto", progress=False)
    assert build_gallery(encoder, some, out, factory="SQ8", progress=False).done_before
    update_gallery(out, encoder, images, rebuild=True, progress=False)
    card = read_card(out)
    assert (card.generation, card.count, card.factory, card.choice) == (2, 300, "SQ8", report.choice)
    assert len(open_gallery(out).search(encoder.encode(images.read(250)), 3)[0]) == 3


def test_what_cannot_be_is_refused_before_anything_is_embedded(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    scripted = Scripted(encoder)
    for options, message in (
        ({"factory": "auto", "limits": Limits(1000)}, "no index meets.*nearest is SQ8, .*Relax --max-memory 7.2kB"),
        ({"factory": "Flat", "limits": Limits()}, "limits are for .*observed --factory Flat, expected --factory auto"),
        ({"factory": "auto", "store": "milvus"}, "chooses among indexes of FAISS: observed --store milvus"),
    ):
        with pytest.raises(UsageError, match=message):
            build_gallery(scripted, images, tmp_path / "g", progress=False, **options)
    assert scripted.calls == 0
    assert not (tmp_path / "g").exists()


def test_a_choice_that_fails_costs_no_image(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    scripted = Scripted(encoder)
    lines: list[str] = []
    with pytest.raises(UsageError, match=r"no index meets the limits.*Relax --max-latency"):
        build_gallery(
            scripted, images, tmp_path / "g", factory="auto", limits=Limits(max_latency=1e-6), progress=False,
            say=lines.append,
        )  # fmt: skip
    assert "does not meet --max-latency" in lines[1]
    assert "the same command with other limits embeds nothing again" in lines[-1]
    before = scripted.images
    report = build_gallery(scripted, images, tmp_path / "g", factory="auto", progress=False)
    assert (before, scripted.images, report.reused, report.factory) == (300, 300, 1, "Flat")


def test_a_plan_says_what_can_be_said_without_vectors(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    expected = plan_gallery(encoder, images, tmp_path / "g", factory="auto", limits=Limits(max_memory=50_000))
    assert [found.factory for found in expected.candidates] == ["Flat", "SQ8", "HNSW32"]
    assert [found.missed for found in expected.candidates] == [(), (), ("max_memory",)]
    assert {(found.recall, found.latency_ms) for found in expected.candidates} == {(None, None)}
    assert expected.index_bytes == expected.candidates[0].bytes  # the largest that may be chosen
    assert [found.removable for found in expected.candidates] == [True, True, False]
    assert len(json.loads(json.dumps(expected.as_dict()))["candidates"]) == 3
    assert plan_gallery(encoder, images, tmp_path / "g").candidates == ()


def test_the_sample_is_spread_over_the_shards(built: Path, encoder: OnnxEncoder, fashion_test: Fashion) -> None:
    shards = open_shards(built / "embeddings")
    vectors = np.concatenate([shard.vectors for shard in shards])
    assert np.array_equal(sample_of(shards, 1000), vectors)
    assert np.array_equal(sample_of(shards, 7), vectors[np.linspace(0, 299, 7).astype(int)])


def test_queries_are_no_part_of_what_is_indexed() -> None:
    vectors = unit(500)
    trial = Trial.of(vectors, 500)
    assert (len(trial.base), len(trial.queries), trial.whole) == (450, 50, True)
    assert (trial.queries @ trial.base.T).max() < 1 - 1e-6
    assert not Trial.of(vectors, 501).whole
    tiny = Trial.of(vectors[:5], 5)
    assert np.array_equal(tiny.base, vectors[:5])
    assert np.array_equal(tiny.queries, vectors[:5])


@pytest.fixture(scope="module")
def clustered() -> np.ndarray:
    """Vectors about 64 directions, as embeddings lie, ``(6000, 32)``."""
    rng = np.random.default_rng(3)
    vectors = unit(64, 32)[rng.integers(64, size=6000)] + rng.normal(scale=0.1, size=(6000, 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_every_kind_is_measured_where_the_sample_is_all(clustered: np.ndarray) -> None:
    limits = Limits(min_recall=0.9)
    found = {one.factory.partition("@")[0]: one for one in measured(Trial.of(clustered, 6000), limits)}
    assert list(found) == [
        "Flat", "SQ8", "IVF128,Flat", "IVF128,SQfp16", "IVF128,SQ8", "IVF128,RaBitQ4", "HNSW32",
        "IVF128,RaBitQ,Refine(SQ8)", "IVF128,PQ16x4fsr,Refine(SQ8)",
    ]  # fmt: skip
    assert all(one.recall == one.sample_recall >= 0.9 for one in found.values() if "RaBitQ4" not in one.factory)
    assert found["Flat"].recall == 1
    assert [one.removable for one in found.values()] == [True] * 6 + [False] * 3
    probes = [re.search(r"nprobe=(\d+)", one.factory) for one in found.values()]
    assert max(int(probe[1]) for probe in probes if probe) < 128  # the cheapest setting that finds enough


def test_of_a_larger_gallery_recall_and_time_are_estimates(clustered: np.ndarray) -> None:
    trial = Trial.of(clustered, 10**6)
    found = {one.factory.partition("@")[0]: one for one in measured(trial, Limits(min_recall=0.8))}
    flat, lists = found["Flat"], found["IVF2048,SQ8"]
    assert flat.latency_ms == pytest.approx(flat.sample_latency_ms * 10**6 / len(trial.base))
    assert flat.bytes == 10**6 * (32 * 4 + 8)
    assert lists.bytes == 10**6 * (32 + 8) + 2048 * 32 * 4
    for one in found.values():
        assert 0 <= one.recall <= one.sample_recall <= 1
        assert one.latency_ms > one.sample_latency_ms
    # Short codes lose with every factor of four what they lose from a quarter of the sample to all of it.
    assert found["IVF2048,RaBitQ4"].recall < found["IVF2048,RaBitQ4"].sample_recall


def test_recall_is_that_of_brute_force(clustered: np.ndarray) -> None:
    """Against NumPy in float64, by sets of positions: here no two vectors are equal."""
    trial = Trial.of(clustered, 6000)
    base, tenth = trial.best(trial.base)
    store = module._filled(module.kinds(32, 6000, 5500)[4], base)
    store.configure("nprobe=2")
    exact = np.argsort(-(trial.queries.astype(np.float64) @ base.T.astype(np.float64)), axis=1)[:, :10]
    ids, _ = store.search(trial.queries, 10)
    expected = np.mean([len(set(row) & set(best)) / 10 for row, best in zip(ids.tolist(), exact.tolist(), strict=True)])
    assert module._recall(store, trial.queries, base, tenth) == pytest.approx(expected, abs=1e-3)
    assert 0.3 < expected < 0.999


def test_a_gallery_of_the_same_picture_many_times(encoder: OnnxEncoder, tmp_path: Path) -> None:
    pixels = np.tile(np.arange(81, dtype=np.uint8).reshape(1, 9, 9), (40, 1, 1))
    images = ImageSet("same", tuple(f"k{row:02d}" for row in range(40)), ArrayReader(pixels))
    report = build_gallery(encoder, images, tmp_path / "g", factory="auto", progress=False)
    assert {found.recall for found in report.choice.candidates} == {1.0}  # any of them is right


@pytest.mark.parametrize("count", [1, 2, 11])
def test_a_tiny_gallery(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, count: int) -> None:
    report = build_gallery(encoder, images, tmp_path / "g", factory="auto", limit=count, progress=False)
    assert (report.factory, report.rows, report.choice.candidates[0].recall) == ("Flat", count, 1.0)
