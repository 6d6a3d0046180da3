from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hetsearch.data.images import ImageSet
from hetsearch.data.sources import open_source
from hetsearch.errors import DamagedArtifact, DataError, ImageError, SpaceMismatch, UsageError
from hetsearch.gallery import (
    UpdateReport,
    build_gallery,
    compact_gallery,
    delete_items,
    open_gallery,
    update_gallery,
    verify_gallery,
)
from hetsearch.gallery.embeddings import load_embeddings
from hetsearch.gallery.folder import exclusive
from hetsearch.gallery.jobs import generation as switch
from hetsearch.runtime import OnnxEncoder, load_encoder
from tests.gallery.scripted import Scripted, snapshot
from tests.support import OTHER_SPACE, SPACE, linear_bundle

Change = Callable[[Path], None]


@pytest.fixture
def folder(fashion_folder: Path, tmp_path: Path) -> Path:
    """60 pictures in class sub-folders, six a class."""
    root = tmp_path / "pictures"
    for path in sorted(fashion_folder.rglob("*.png")):
        if int(path.stem) < 6:
            (root / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, root / path.parent.name / path.name)
    return root


@pytest.fixture
def gallery(encoder: OnnxEncoder, folder: Path, tmp_path: Path) -> Path:
    build_gallery(encoder, open_source(str(folder)), tmp_path / "g", shard_rows=16, progress=False)
    return tmp_path / "g"


def paint(path: Path, seed: int) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)).save(path)


def everything(folder: Path) -> None:
    """One new and one unreadable, one changed, two renamed (one into another class), one copied, three removed."""
    paint(folder / "class-0" / "new.png", 1)
    (folder / "class-0" / "no picture.png").write_bytes(b"no picture")
    paint(folder / "class-1" / "000.png", 2)
    (folder / "class-2" / "000.png").rename(folder / "class-2" / "renamed.png")
    (folder / "class-2" / "001.png").rename(folder / "class-3" / "moved.png")
    shutil.copy(folder / "class-4" / "000.png", folder / "class-4" / "copy.png")
    for number in range(3):
        (folder / "class-5" / f"00{number}.png").unlink()


def assert_equal_to_a_new_one(encoder: OnnxEncoder, folder: Path, gallery: Path, tmp_path: Path) -> None:
    """The updated gallery answers as one that is built from nothing does: the independent reference."""
    fresh = tmp_path / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    build_gallery(encoder, open_source(str(folder)), fresh, progress=False)
    old, new = open_gallery(gallery), open_gallery(fresh)
    assert rows_of(gallery) == rows_of(fresh)
    vectors, expected = load_embeddings(gallery), load_embeddings(fresh)
    order, wanted = np.argsort(vectors.keys), np.argsort(expected.keys)
    assert [vectors.keys[at] for at in order] == [expected.keys[at] for at in wanted]
    assert np.allclose(vectors.vectors[order], expected.vectors[wanted], rtol=0, atol=1e-6)
    hits = [[hit.key for hit in row] for row in old.search(expected, 5)]
    # Only keys with the same picture may change places.
    best = [[round(hit.score, 5) for hit in row] for row in new.search(expected, 5)]
    assert [[round(hit.score, 5) for hit in row] for row in old.search(expected, 5)] == best
    assert all(len(set(row)) == 5 for row in hits)
    assert verify_gallery(gallery).rows == len(new)


def rows_of(gallery: Path) -> set[tuple[object, ...]]:
    return set(zip(*open_gallery(gallery).items.to_pydict().values(), strict=True))


def counts(report: UpdateReport) -> tuple[int, ...]:
    return (report.new, report.changed, report.renamed, report.removed, len(report.failures), report.unchanged)


@pytest.mark.parametrize("factory", ["Flat", "SQ8", "IVF4,Flat", "HNSW8"])
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_only_what_is_not_known_is_embedded(
    encoder: OnnxEncoder, folder: Path, tmp_path: Path, factory: str
) -> None:
    gallery = tmp_path / "g"
    build_gallery(encoder, open_source(str(folder)), gallery, factory=factory, shard_rows=16, progress=False)
    everything(folder)
    counted = Scripted(encoder)
    report = update_gallery(gallery, counted, open_source(str(folder)), rebuild=factory == "HNSW8", progress=False)
    assert counts(report) == (2, 1, 2, 3, 1, 54)
    assert report.line == "2 new, 1 changed, 2 renamed, 0 described anew, 3 removed, 1 failed, 54 unchanged"
    assert (report.to_embed, report.copied, counted.images) == (3, 3, 2)
    assert (report.rows, report.generation, report.exit_code) == (59, 2, 3)
    assert [failure.key for failure in report.failures] == ["class-0/no picture.png"]
    assert verify_gallery(gallery).rows == 59
    if factory == "Flat":
        assert_equal_to_a_new_one(encoder, folder, gallery, tmp_path)
    again = update_gallery(gallery, counted, open_source(str(folder)), progress=False)
    assert (again.nothing, again.exit_code, again.generation, counted.images) == (True, 3, 2, 2)
    assert counts(again) == (0, 0, 0, 0, 1, 59)


def test_the_files_of_a_generation(encoder: OnnxEncoder, folder: Path, gallery: Path) -> None:
    everything(folder)
    update_gallery(gallery, encoder, open_source(str(folder)), progress=False)
    card = json.loads((gallery / "gallery.json").read_text())
    assert (card["generation"], card["count"], card["index"]) == (2, 59, "index-00002.faiss")
    assert sorted(snapshot(gallery)) == sorted([*card["files"], "gallery.json"])
    assert {"items-00002.parquet", "embeddings/manifest-00002.json", "embeddings/tombstones-00002.parquet",
            "embeddings/failures-00002.parquet"} <= set(card["files"])  # fmt: skip
    # What build would say now: the same listing is finished, nothing to do.
    report = build_gallery(encoder, open_source(str(folder)), gallery, progress=False)
    assert (report.done_before, report.rows, report.exit_code) == (True, 59, 3)


def test_nothing_to_do(encoder: OnnxEncoder, folder: Path, gallery: Path) -> None:
    before = snapshot(gallery)
    report = update_gallery(gallery, encoder, open_source(str(folder)), progress=False)
    assert (report.nothing, report.generation, report.exit_code) == (True, 1, 0)
    assert counts(report) == (0, 0, 0, 0, 0, 60)
    assert snapshot(gallery) == before


def test_a_dry_run_counts_and_writes_nothing(encoder: OnnxEncoder, folder: Path, gallery: Path) -> None:
    everything(folder)
    before = snapshot(gallery)
    counted = Scripted(encoder)
    report = update_gallery(gallery, counted, open_source(str(folder)), dry_run=True, progress=False)
    assert counts(report) == (3, 1, 2, 3, 0, 54)
    assert (report.dry_run, report.to_embed, counted.calls) == (True, 3, 0)
    assert snapshot(gallery) == before


def test_another_description_costs_no_vector_and_no_index(
    encoder: OnnxEncoder, folder: Path, tmp_path: Path
) -> None:
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    table = folder / "list.csv"
    table.write_text("path,label\n" + "".join(f"{path},a\n" for path in paths))
    gallery = tmp_path / "m"
    build_gallery(encoder, open_source(str(table)), gallery, shard_rows=16, progress=False)
    index = (gallery / "index.faiss").read_bytes()
    table.write_text("path,label\n" + "".join(f"{path},{'b' if row < 20 else 'a'}\n" for row, path in enumerate(paths)))
    counted = Scripted(encoder)
    report = update_gallery(gallery, counted, open_source(str(table)), progress=False)
    assert (report.described, report.unchanged, counted.calls) == (20, 40, 0)
    assert (gallery / "index.faiss").read_bytes() == index
    assert not (gallery / "index-00002.faiss").exists()
    items = open_gallery(gallery).items.to_pydict()
    labels = dict(zip(items["key"], items["label"], strict=True))
    assert [labels[path] for path in paths] == ["b"] * 20 + ["a"] * 40
    # Its first shard holds only rows that no longer count, and is gone.
    assert not (gallery / "embeddings" / "shard-00000.parquet").exists()
    assert verify_gallery(gallery).rows == 60


def test_an_image_that_cannot_be_read_any_more_keeps_its_vector(
    encoder: OnnxEncoder, folder: Path, gallery: Path
) -> None:
    (folder / "class-0" / "000.png").write_bytes(b"spoiled")
    before = rows_of(gallery)
    report = update_gallery(gallery, encoder, open_source(str(folder)), progress=False)
    assert (report.kept, report.changed, report.rows, report.exit_code) == (1, 0, 60, 3)
    assert rows_of(gallery) == before
    paint(folder / "class-0" / "000.png", 3)
    report = update_gallery(gallery, encoder, open_source(str(folder)), progress=False)
    assert (report.changed, report.exit_code, report.generation) == (1, 0, 3)


def test_keep_adds_and_changes_only(encoder: OnnxEncoder, folder: Path, gallery: Path, tmp_path: Path) -> None:
    everything(folder)
    update_gallery(gallery, encoder, open_source(str(folder)), progress=False)
    before = rows_of(gallery)
    (tmp_path / "more").mkdir()
    paint(tmp_path / "more" / "class-7" / "000.png", 5)
    paint(tmp_path / "more" / "class-7" / "extra.png", 6)
    report = update_gallery(gallery, encoder, open_source(str(tmp_path / "more")), remove=False, progress=False)
    assert counts(report) == (1, 1, 0, 0, 1, 0)
    assert report.rows == 60
    keys = {row[0] for row in before}
    assert {row[0] for row in rows_of(gallery)} == keys | {"class-7/extra.png"}
    assert report.failures[0].key == "class-0/no picture.png"  # known from before, and still so
    assert json.loads((gallery / "gallery.json").read_text())["images"] == str(folder)
    with pytest.raises(UsageError, match="is the gallery of other images"):
        build_gallery(encoder, open_source(str(folder)), gallery, progress=False)


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat"])
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_deletion_by_key(encoder: OnnxEncoder, folder: Path, tmp_path: Path, factory: str) -> None:
    gallery = tmp_path / "g"
    build_gallery(encoder, open_source(str(folder)), gallery, factory=factory, shard_rows=16, progress=False)
    keys = [f"class-{number}/000.png" for number in range(5)]
    query = encoder.encode([folder / key for key in keys])
    report = delete_items(gallery, [*keys, "never/there.png"])
    assert (report.removed, report.absent, report.rows, report.generation) == (5, ("never/there.png",), 55, 2)
    opened = open_gallery(gallery)
    assert not {hit.key for row in opened.search(query, 40) for hit in row} & set(keys)
    assert verify_gallery(gallery).rows == 55
    again = delete_items(gallery, keys)
    assert (again.nothing, again.removed, again.generation, len(again.absent)) == (True, 0, 2, 5)
    # What was deleted is still listed, so an update brings it back.
    assert update_gallery(gallery, encoder, open_source(str(folder)), progress=False).new == 5


def test_an_index_that_cannot_remove_says_so_before_anything_is_done(
    encoder: OnnxEncoder, folder: Path, tmp_path: Path
) -> None:
    gallery = tmp_path / "g"
    build_gallery(encoder, open_source(str(folder)), gallery, factory="HNSW8", progress=False)
    paint(folder / "class-0" / "new.png", 1)
    # To add alone needs no removal.
    assert update_gallery(gallery, encoder, open_source(str(folder)), progress=False).new == 1
    everything(folder)
    before, counted = snapshot(gallery), Scripted(encoder)
    with pytest.raises(UsageError, match=r"'HNSW8' cannot remove vectors: observed 5 to remove or replace.*--rebuild"):
        update_gallery(gallery, counted, open_source(str(folder)), progress=False)
    with pytest.raises(UsageError, match=r"cannot remove vectors: observed 1 to .*--rebuild"):
        update_gallery(gallery, counted, open_source(str(folder)), remove=False, progress=False)
    with pytest.raises(UsageError, match=r"cannot remove vectors: observed 1 .*--rebuild"):
        delete_items(gallery, ["class-0/000.png"])
    assert counted.calls == 0
    assert snapshot(gallery) == before
    assert delete_items(gallery, ["class-0/000.png"], rebuild=True).rows == 60
    assert verify_gallery(gallery).rows == 60


def test_an_index_with_fewer_vectors_than_lists_still_changes(
    encoder: OnnxEncoder, folder: Path, tmp_path: Path
) -> None:
    gallery, images = tmp_path / "g", open_source(str(folder))
    with pytest.warns(UserWarning, match="trained with"):
        build_gallery(encoder, images, gallery, factory="IVF16,Flat", progress=False)
    assert delete_items(gallery, images.keys[10:]).rows == 10
    assert delete_items(gallery, images.keys[9:10]).rows == 9
    assert update_gallery(gallery, encoder, images.subset(range(8)), progress=False).rows == 8
    assert update_gallery(gallery, encoder, images.subset(range(9)), progress=False).rows == 9
    with pytest.raises(UsageError, match="too few vectors to train this index: observed 9, expected at least 16"):
        update_gallery(gallery, encoder, images.subset(range(9)), rebuild=True, progress=False)
    assert verify_gallery(gallery).rows == 9


def test_compacting_leaves_the_rows_that_count(
    encoder: OnnxEncoder, folder: Path, gallery: Path, tmp_path: Path
) -> None:
    assert compact_gallery(gallery).nothing
    everything(folder)
    update_gallery(gallery, encoder, open_source(str(folder)), progress=False)
    before = load_embeddings(gallery)
    query = encoder.encode([folder / "class-8" / "000.png"])
    hits = open_gallery(gallery).search(query, 20)
    report = compact_gallery(gallery)
    assert (report.nothing, report.dropped, report.rows, report.generation) == (False, 6, 59, 3)
    after = load_embeddings(gallery)
    assert after.keys == before.keys
    assert after.vectors.tobytes() == before.vectors.tobytes()
    assert open_gallery(gallery).search(query, 20) == hits
    shards = sorted(path.name for path in (gallery / "embeddings").glob("shard-*"))
    assert len(shards) == -(-59 // 16)
    assert not list((gallery / "embeddings").glob("tombstones*"))
    assert_equal_to_a_new_one(encoder, folder, gallery, tmp_path)
    assert update_gallery(gallery, encoder, open_source(str(folder)), progress=False).nothing


def test_a_reader_survives_the_switch(encoder: OnnxEncoder, folder: Path, gallery: Path) -> None:
    reader = open_gallery(gallery)
    query = encoder.encode([folder / "class-2" / "000.png"])
    before = reader.search(query, 10)
    everything(folder)
    update_gallery(gallery, encoder, open_source(str(folder)), progress=False)
    compact_gallery(gallery)
    assert reader.search(query, 10) == before
    assert open_gallery(gallery).search(query, 1)[0][0].key == "class-2/renamed.png"


def test_a_reader_that_opens_during_the_switch(
    encoder: OnnxEncoder, folder: Path, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hetsearch.gallery import gallery as module

    everything(folder)
    original = module.read_table
    calls: list[Path] = []

    def late(path: Path, *arguments: object) -> object:
        calls.append(path)
        if len(calls) == 1:
            update_gallery(gallery, encoder, open_source(str(folder)), progress=False)
        return original(path, *arguments)

    monkeypatch.setattr(module, "read_table", late)
    assert len(open_gallery(gallery)) == 59
    assert [path.name for path in calls] == ["items.parquet", "items-00002.parquet"]
    (gallery / "items-00002.parquet").unlink()
    with pytest.raises(DamagedArtifact, match=r"no items-00002\.parquet"):
        open_gallery(gallery)


@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_killed_update_goes_on_at_the_shard(
    encoder: OnnxEncoder, folder: Path, gallery: Path, tmp_path: Path, call: int
) -> None:
    whole = Path(shutil.copytree(gallery, tmp_path / "whole"))
    for number in range(40):
        paint(folder / "class-9" / f"n{number:02d}.png", number + 10)
    (folder / "class-9" / "n20.png").write_bytes(b"no picture")
    images = open_source(str(folder))
    update_gallery(whole, Scripted(encoder), images, progress=False)
    before = rows_of(gallery)
    with pytest.raises(KeyboardInterrupt):
        update_gallery(gallery, Scripted(encoder, die_at=call), images, progress=False)
    assert rows_of(gallery) == before
    lines: list[str] = []
    second = Scripted(encoder)
    report = update_gallery(gallery, second, images, progress=False, say=lines.append)
    assert (report.reused, report.new, report.exit_code) == (call - 1, 39, 3)
    assert second.images == 39 - min(16 * (call - 1), 31)
    assert [line.split(":")[0] for line in lines] == (["resumed"] if call > 1 else [])
    assert snapshot(gallery) == snapshot(whole)


@pytest.mark.parametrize("step", ["write_failures", "write_manifest", "write_items", "write_card", "settle"])
def test_an_update_killed_while_it_switches(
    encoder: OnnxEncoder, folder: Path, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    whole = Path(shutil.copytree(gallery, tmp_path / "whole"))
    everything(folder)
    images = open_source(str(folder))
    update_gallery(whole, encoder, images, progress=False)
    before = rows_of(gallery)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(switch, step, killed)
        with pytest.raises(KeyboardInterrupt):
            update_gallery(gallery, encoder, images, progress=False)
    assert rows_of(gallery) == (before if step != "settle" else rows_of(whole))
    second = Scripted(encoder)
    report = update_gallery(gallery, second, images, progress=False)
    assert second.calls == 0
    assert report.nothing == (step == "settle")
    # Which folder's name the encoder has is the only difference that there may be.
    assert without_name(snapshot(gallery)) == without_name(snapshot(whole))


def without_name(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.endswith(".json")}


def test_an_unfinished_update_of_other_images_is_dropped(
    encoder: OnnxEncoder, folder: Path, gallery: Path
) -> None:
    for number in range(20):
        paint(folder / "class-9" / f"n{number:02d}.png", number + 10)
    with pytest.raises(KeyboardInterrupt):
        update_gallery(gallery, Scripted(encoder, die_at=2), open_source(str(folder)), progress=False)
    paint(folder / "class-9" / "n00.png", 99)
    lines: list[str] = []
    report = update_gallery(gallery, encoder, open_source(str(folder)), progress=False, say=lines.append)
    assert lines == ["what an unfinished job left is dropped: it was another one"]
    assert (report.reused, report.new) == (0, 20)
    assert verify_gallery(gallery).rows == 80


def test_refusals(encoder: OnnxEncoder, folder: Path, gallery: Path, tmp_path: Path) -> None:
    before = snapshot(gallery)
    images = open_source(str(folder))
    other = load_encoder(linear_bundle(tmp_path / "other", space=OTHER_SPACE))
    with pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}"):
        update_gallery(gallery, other, images, progress=False)
    with pytest.raises(UsageError, match="is not a gallery"):
        update_gallery(tmp_path, encoder, images, progress=False)
    with pytest.raises(DataError, match="has no images"):
        update_gallery(gallery, encoder, ImageSet("none", (), lambda row: b""), progress=False)
    for number in ({"max_errors": -1}, {"workers": -1}):
        with pytest.raises(UsageError, match="is too small: observed -1, expected 0 or more"):
            update_gallery(gallery, encoder, images, progress=False, **number)
    with pytest.raises(UsageError, match="nothing would be left"):
        delete_items(gallery, images.keys)
    with exclusive(gallery), pytest.raises(UsageError, match="another job is at work"):
        delete_items(gallery, images.keys[:1])
    (folder / "class-0" / "x.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="the job stopped"):
        update_gallery(gallery, encoder, open_source(str(folder)), on_error="fail", progress=False)
    update_gallery(gallery, encoder, images, progress=False)
    assert snapshot(gallery) == before


def test_another_network_of_the_space_is_said(
    encoder: OnnxEncoder, folder: Path, gallery: Path, tmp_path: Path
) -> None:
    other = load_encoder(linear_bundle(tmp_path / "small", space=SPACE, seed=4))
    with pytest.warns(UserWarning, match="'small' is another network of the same space.*index build' into another"):
        update_gallery(gallery, other, open_source(str(folder)), progress=False)


def test_a_damaged_shard_is_found_before_its_vectors_are_used(
    encoder: OnnxEncoder, folder: Path, gallery: Path
) -> None:
    delete_items(gallery, open_source(str(folder)).keys[:1])
    path = gallery / "embeddings" / "shard-00000.parquet"
    columns = pq.ParquetFile(path).metadata.row_group(0)
    vectors = next(c for c in map(columns.column, range(columns.num_columns)) if c.path_in_schema.startswith("vector"))
    payload = bytearray(path.read_bytes())
    payload[vectors.data_page_offset + vectors.total_compressed_size // 2] ^= 1
    path.write_bytes(payload)
    with pytest.raises(DamagedArtifact):
        compact_gallery(gallery)
    everything(folder)
    with pytest.raises(DamagedArtifact):
        update_gallery(gallery, encoder, open_source(str(folder)), rebuild=True, progress=False)
    assert open_gallery(gallery).items.num_rows == 59
