from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hetsearch.data.images import ImageSet
from hetsearch.data.sources import open_source
from hetsearch.errors import DamagedArtifact, DataError, HetsearchError, ImageError, SpaceMismatch, UsageError
from hetsearch.gallery import build_gallery, delete_items, open_gallery, verify_gallery
from hetsearch.gallery.folder import exclusive
from hetsearch.gallery.jobs import build, generation
from hetsearch.gallery.manifest import read_manifest
from hetsearch.preprocess import InputSpec
from hetsearch.runtime import OnnxEncoder, load_encoder
from tests.gallery.scripted import DeadlyOnce, Scripted, snapshot
from tests.support import OTHER_SPACE, SPACE, linear_bundle


@pytest.fixture
def spoiled(fashion_folder: Path, tmp_path: Path) -> Path:
    """Ten good pictures, a truncated JPEG and a file of zero bytes."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in sorted(fashion_folder.rglob("*.png"))[:10]:
        shutil.copy(path, folder / path.name)
    Image.effect_noise((200, 200), 50).save(folder / "cut short.jpg")
    payload = (folder / "cut short.jpg").read_bytes()
    (folder / "cut short.jpg").write_bytes(payload[: len(payload) // 2])
    (folder / "写真.png").touch()
    return folder


def test_the_folder_of_the_contract(built: Path) -> None:
    assert sorted(snapshot(built)) == [
        "embeddings/failures.parquet",
        "embeddings/manifest.json",
        "embeddings/shard-00000.parquet",
        "embeddings/shard-00001.parquet",
        "embeddings/shard-00002.parquet",
        "gallery.json",
        "index.faiss",
        "items.parquet",
    ]
    card = json.loads((built / "gallery.json").read_text())
    expected = {
        "schema": 3, "store": "faiss", "factory": "Flat", "count": 300, "generation": 1, "index": "index.faiss"
    }
    assert {name: card[name] for name in expected} == expected
    assert (card["space"], card["dim"]) == (SPACE, 16)
    assert card["encoder"] == "linear"
    assert card["input"] == InputSpec().model_dump(mode="json")
    assert pq.read_schema(built / "items.parquet").names[0] == "key"
    assert [entry.rows for entry in read_manifest(built / "embeddings").shards] == [128, 128, 44]


def test_the_report(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    report = build_gallery(encoder, images, tmp_path / "g", limit=50, progress=False)
    assert (report.rows, report.failures, report.exit_code, report.done_before) == (50, (), 0, False)
    assert report.bytes == sum(len(payload) for payload in snapshot(tmp_path / "g").values())
    assert report.images_per_second == pytest.approx(50 / report.seconds)
    assert json.loads(json.dumps(report.as_dict()))["gallery"] == str(tmp_path / "g")
    assert open_gallery(tmp_path / "g").items["key"].to_pylist() == list(images.keys[:50])


@pytest.mark.parametrize(("shard_rows", "batch_size"), [(1, 64), (7, 3), (3, 7), (50, 50), (4096, 1)])
def test_shards_do_not_change_what_is_stored(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, shard_rows: int, batch_size: int
) -> None:
    some = images.subset(range(50))
    build_gallery(
        encoder, some, tmp_path / "g", shard_rows=shard_rows, batch_size=batch_size, progress=False
    )
    gallery = open_gallery(tmp_path / "g")
    assert gallery.items["key"].to_pylist() == list(some.keys)
    assert gallery.items["label"].to_pylist() == list(some.labels)
    query = encoder.encode([some.read(row) for row in range(50)])
    assert [hits[0].key for hits in gallery.search(query, 1)] == list(some.keys)
    assert len(list((tmp_path / "g" / "embeddings").glob("shard-*"))) == -(-50 // shard_rows)


def test_ids_and_hits_do_not_depend_on_the_order_of_the_listing(
    built: Path, encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    shuffled = images.subset(np.random.default_rng(0).permutation(300).tolist())
    build_gallery(encoder, shuffled, tmp_path / "g", progress=False)
    first, second = open_gallery(built), open_gallery(tmp_path / "g")
    pairs = [set(zip(*table.items.to_pydict().values(), strict=True)) for table in (first, second)]
    assert pairs[0] == pairs[1]
    assert first.items["key"].to_pylist() != second.items["key"].to_pylist()
    query = encoder.encode([images.read(row) for row in range(20)])
    assert first.search(query, 10) == second.search(query, 10)


def test_unreadable_images_are_recorded(encoder: OnnxEncoder, spoiled: Path, tmp_path: Path) -> None:
    out = tmp_path / "g"
    report = build_gallery(encoder, open_source(str(spoiled)), out, progress=False)
    assert (report.rows, report.exit_code) == (10, 3)
    rows = pq.read_table(out / "embeddings" / "failures.parquet").to_pylist()
    assert [row["key"] for row in rows] == ["cut short.jpg", "写真.png"]
    assert "truncated" in rows[0]["reason"]
    assert "0 bytes" in rows[1]["reason"]
    before = snapshot(out)
    again = build_gallery(encoder, open_source(str(spoiled)), out, progress=False)
    assert (again.done_before, again.exit_code, again.failures) == (True, 3, report.failures)
    assert snapshot(out) == before


def test_items_know_label_and_path(encoder: OnnxEncoder, fashion_folder: Path, tmp_path: Path) -> None:
    images = open_source(str(fashion_folder))
    build_gallery(encoder, images, tmp_path / "g", limit=30, progress=False)
    gallery = open_gallery(tmp_path / "g")
    assert gallery.items.column_names == ["key", "id", "label", "path"]
    hit = gallery.search(encoder.encode(images.read(4)), 1)[0][0]
    assert hit.key == images.keys[4]
    assert hit.item == {"label": images.labels[4], "path": str(fashion_folder / images.keys[4])}


@pytest.mark.parametrize("options", [{"on_error": "fail"}, {"max_errors": 0}, {"max_errors": 1}])
def test_a_job_may_stop_at_errors(
    encoder: OnnxEncoder, spoiled: Path, tmp_path: Path, options: dict[str, object]
) -> None:
    expected = "写真" if options == {"max_errors": 1} else "cut short"
    with pytest.raises(ImageError, match=f"the job stopped.*{expected}"):
        build_gallery(encoder, open_source(str(spoiled)), tmp_path / "g", progress=False, **options)
    with pytest.raises(UsageError, match="is not finished"):
        open_gallery(tmp_path / "g")
    assert build_gallery(
        encoder, open_source(str(spoiled)), tmp_path / "g", max_errors=2, progress=False
    ).exit_code == 3


def test_no_readable_image(encoder: OnnxEncoder, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").touch()
    with pytest.raises(DataError, match=r"no image of .* can be read: observed 1 failures.*0 bytes"):
        build_gallery(encoder, open_source(str(tmp_path / "pictures")), tmp_path / "g", progress=False)
    assert list((tmp_path / "g").iterdir()) == []  # so that mended images are read at the next call


def test_a_finished_gallery_is_left_as_it_is(encoder: OnnxEncoder, images: ImageSet, copy: Path) -> None:
    before = snapshot(copy)
    report = build_gallery(encoder, images, copy, progress=False)
    assert (report.done_before, report.exit_code, report.rows) == (True, 0, 300)
    assert report.images_per_second is None
    assert snapshot(copy) == before


def test_other_wishes_for_a_finished_gallery_are_answered(
    encoder: OnnxEncoder, images: ImageSet, copy: Path
) -> None:
    with pytest.warns(UserWarning, match="finished with the factory 'Flat'; 'HNSW8' is ignored"):
        report = build_gallery(encoder, images, copy, factory="HNSW8", progress=False)
    assert (report.factory, report.encoder) == ("Flat", "linear")


def test_the_same_folder_by_another_path_is_the_same_listing(
    encoder: OnnxEncoder, fashion_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: object
) -> None:
    monkeypatch.chdir(fashion_folder.parent)
    build_gallery(encoder, open_source(fashion_folder.name), tmp_path / "g", progress=False)
    again = build_gallery(encoder, open_source(str(fashion_folder)), tmp_path / "g", progress=False)
    assert again.done_before
    assert not [str(told.message) for told in recwarn]


def test_another_source_of_the_same_keys_is_named(encoder: OnnxEncoder, images: ImageSet, copy: Path) -> None:
    with pytest.warns(UserWarning, match="built from 'slice'; 'another' has the same keys"):
        assert build_gallery(encoder, replace(images, name="another"), copy, progress=False).done_before


@pytest.mark.parametrize("change", ["limit", "order"])
def test_another_listing_is_refused(encoder: OnnxEncoder, images: ImageSet, copy: Path, change: str) -> None:
    other = {
        "limit": images.subset(range(10)),
        "order": images.subset(range(299, -1, -1)),
    }[change]
    before = snapshot(copy)
    with pytest.raises(UsageError, match=r"other images.*the 300 images of 'slice'.*hetsearch index update") as caught:
        build_gallery(encoder, other, copy, progress=False)
    assert caught.value.exit_code == 2
    assert snapshot(copy) == before


def test_another_space_is_refused(images: ImageSet, copy: Path, tmp_path: Path) -> None:
    other = load_encoder(linear_bundle(tmp_path / "other", space=OTHER_SPACE))
    before = snapshot(copy)
    with pytest.raises(SpaceMismatch, match=f"observed {OTHER_SPACE}, expected {SPACE}") as caught:
        build_gallery(other, images.subset(range(10)), copy, progress=False)
    assert caught.value.exit_code == 4
    assert snapshot(copy) == before


def test_a_finished_gallery_that_was_changed(encoder: OnnxEncoder, images: ImageSet, copy: Path) -> None:
    (copy / "index.faiss").write_bytes(b"")
    with pytest.raises(DamagedArtifact, match="was changed"):
        build_gallery(encoder, images, copy, progress=False)


@pytest.mark.parametrize(("call", "shards"), [(1, 0), (4, 1), (6, 2)])
def test_a_job_killed_while_it_embeds_goes_on_at_the_shard(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, call: int, shards: int
) -> None:
    build_gallery(Scripted(encoder), images, tmp_path / "whole", shard_rows=100, progress=False)
    out = tmp_path / "g"
    with pytest.raises(KeyboardInterrupt):
        build_gallery(Scripted(encoder, die_at=call), images, out, shard_rows=100, progress=False)
    with pytest.raises(UsageError, match=r"is not finished: observed no gallery\.json"):
        open_gallery(out)
    lines: list[str] = []
    second = Scripted(encoder)
    # Other wishes for shards and batches are not heard: the vectors would differ in their last bits.
    report = build_gallery(second, images, out, batch_size=7, progress=False, say=lines.append)
    assert (report.shards, report.reused, report.embedded) == (3, shards, 300 - 100 * shards)
    assert second.images == 300 - 100 * shards
    assert lines == ([f"resumed: {shards} of 3 shards are there, {100 * shards} images (0 of them not read); "
                      f"{300 - 100 * shards} images are left"] if shards else [])  # fmt: skip
    assert snapshot(out) == snapshot(tmp_path / "whole")


@pytest.mark.parametrize("step", ["write_failures", "write_manifest", "write_items", "write_card"])
def test_a_job_killed_while_it_writes(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    some = images.subset(range(20))
    with monkeypatch.context() as patch:
        patch.setattr(generation, step, killed)
        with pytest.raises(KeyboardInterrupt):
            build_gallery(encoder, some, tmp_path / "g", progress=False)
    with pytest.raises(UsageError, match="is not finished"):
        open_gallery(tmp_path / "g")
    second = Scripted(encoder)
    assert build_gallery(second, some, tmp_path / "g", progress=False).reused == 1
    assert second.calls == 0
    build_gallery(second, some, tmp_path / "whole", progress=False)
    assert snapshot(tmp_path / "g") == snapshot(tmp_path / "whole")


def killed_at(encoder: OnnxEncoder, images: ImageSet, out: Path, call: int = 4) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_gallery(Scripted(encoder, die_at=call), images, out, shard_rows=100, progress=False)


def test_failures_are_known_to_the_resumed_job(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    def read(row: int) -> object:
        return b"" if row in (5, 17, 250) else images.read(row)

    some = ImageSet("some", images.keys, read)
    killed_at(encoder, some, tmp_path / "g")
    report = build_gallery(encoder, some, tmp_path / "g", progress=False)
    assert (report.reused, report.rows, report.exit_code) == (1, 297, 3)
    assert [failure.key for failure in report.failures] == [images.keys[row] for row in (5, 17, 250)]
    killed_at(encoder, some, tmp_path / "h")
    with pytest.raises(ImageError, match=f"the job stopped at an image that cannot be read .'{images.keys[5]}'"):
        build_gallery(encoder, some, tmp_path / "h", on_error="fail", progress=False)


def test_a_shard_that_was_changed_is_embedded_again(
    encoder: OnnxEncoder, images: ImageSet, built: Path, tmp_path: Path
) -> None:
    killed_at(encoder, images, tmp_path / "g", call=6)
    path = tmp_path / "g" / "embeddings" / "shard-00000.parquet"
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(payload)
    (path.parent / ".shard-00002.parquet.4711.0123abcd.tmp").write_bytes(b"half a shard")
    lines: list[str] = []
    report = build_gallery(encoder, images, tmp_path / "g", progress=False, say=lines.append)
    assert (report.reused, report.embedded) == (1, 200)
    assert "embedded again" in lines[0]
    assert verify_gallery(tmp_path / "g").rows == 300
    assert not list((tmp_path / "g").rglob("*.tmp"))


def test_an_unfinished_gallery_of_something_else(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    killed_at(encoder, images, tmp_path / "g")
    before = snapshot(tmp_path / "g")
    with pytest.raises(UsageError, match=r"unfinished gallery of other images: observed .*10 images.*300 images"):
        build_gallery(encoder, images.subset(range(10)), tmp_path / "g", progress=False)
    other = load_encoder(linear_bundle(tmp_path / "other", space=OTHER_SPACE))
    with pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}"):
        build_gallery(other, images, tmp_path / "g", progress=False)
    seed = load_encoder(linear_bundle(tmp_path / "seed", space=SPACE, seed=1))
    with pytest.raises(UsageError, match=r"gallery of another encoder: observed 'seed'.*expected 'scripted'"):
        build_gallery(seed, images, tmp_path / "g", progress=False)
    assert snapshot(tmp_path / "g") == before


def test_a_job_whose_worker_died_goes_on(encoder: OnnxEncoder, fashion_folder: Path, tmp_path: Path) -> None:
    images = open_source(str(fashion_folder))
    once = DeadlyOnce(tmp_path / "flag", images.read(150))
    bad = ImageSet(images.name, images.keys, lambda row: once if row == 150 else images.read(row), images.labels)
    with pytest.raises(HetsearchError, match=r"a worker process died while it read images.*same command goes on"):
        build_gallery(encoder, bad, tmp_path / "g", shard_rows=50, batch_size=10, workers=1, progress=False)
    there = len(list((tmp_path / "g" / "embeddings").glob("shard-*")))
    assert there >= 1
    report = build_gallery(encoder, images, tmp_path / "g", progress=False)
    assert (report.reused, report.rows) == (there, 200)
    build_gallery(encoder, images, tmp_path / "whole", shard_rows=50, batch_size=10, progress=False)
    assert snapshot(tmp_path / "g") == snapshot(tmp_path / "whole")


def test_two_jobs_in_one_folder(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(UsageError, match="another job is at work"):
        build_gallery(encoder, images, tmp_path, progress=False)
    assert build_gallery(encoder, images, tmp_path, limit=5, progress=False).rows == 5


def test_a_job_that_ends_while_another_begins(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "g"

    @contextmanager
    def late(folder: Path) -> Iterator[None]:
        monkeypatch.undo()
        build_gallery(encoder, images, out, progress=False)
        delete_items(out, images.keys[:1])
        with exclusive(folder):
            yield

    monkeypatch.setattr(build, "exclusive", late)
    with pytest.raises(UsageError, match="is the gallery of other images"):
        build_gallery(encoder, images, out, progress=False)
    assert len(open_gallery(out)) == 299


def test_a_folder_of_something_else_is_left_alone(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match="is not empty and no gallery"):
        build_gallery(encoder, images, tmp_path, progress=False)
    assert snapshot(tmp_path) == {"thesis.txt": b"all of it"}


def test_a_file_in_the_way_costs_nothing(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    scripted = Scripted(encoder)
    for out in (tmp_path / "file", tmp_path / "file" / "g"):
        with pytest.raises(UsageError, match="Choose another --out"):
            build_gallery(scripted, images, out, progress=False)
    assert scripted.calls == 0


@pytest.mark.parametrize(("factor", "message"), [(np.nan, "NaN"), (0.5, "unit length")])
def test_an_encoder_that_gives_no_unit_vectors(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, factor: float, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        build_gallery(Scripted(encoder, factor=factor), images, tmp_path / "g", progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit is too small"),
        ({"shard_rows": 0}, "shard_rows is too small"),
        ({"max_errors": -1}, "max_errors is too small"),
        ({"batch_size": 0}, "batch_size is too small"),
        ({"workers": -1}, "workers is too small"),
        ({"store": "foo"}, "no store 'foo'"),
        ({"uri": "elsewhere"}, "lies in the gallery's folder: observed --uri elsewhere"),
        ({"factory": "PQ4x9"}, "too few vectors.*observed 300, expected at least 512"),
        ({"factory": "Flatt"}, "cannot make an index of 'Flatt'"),
        ({"factory": "IVF301,Flat"}, "too few vectors.*observed 300, expected at least 301"),
    ],
)
def test_wrong_arguments_cost_nothing(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    scripted = Scripted(encoder)
    with pytest.raises(UsageError, match=message):
        build_gallery(scripted, images, tmp_path / "g", progress=False, **options)
    assert scripted.calls == 0


def test_no_images(encoder: OnnxEncoder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'none' has no images"):
        build_gallery(encoder, ImageSet("none", (), lambda row: b""), tmp_path / "g", progress=False)


def test_progress_goes_to_stderr(
    encoder: OnnxEncoder,
    images: ImageSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    build_gallery(encoder, images, tmp_path / "g", limit=20)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "20/20" in captured.err
    assert "img/s" in captured.err
