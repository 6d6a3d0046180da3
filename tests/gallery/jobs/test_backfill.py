from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.errors import ImageError, SpaceMismatch, UsageError
from hetsearch.gallery import (
    backfill_gallery,
    build_gallery,
    open_gallery,
    rollback_upgrade,
    stable_ids,
    update_gallery,
    upgrade_gallery,
    verify_gallery,
)
from hetsearch.gallery.embeddings import load_embeddings
from hetsearch.gallery.jobs import generation as switch
from hetsearch.gallery.jobs.order import margins
from hetsearch.preprocess import ImageLike
from tests.gallery.jobs.test_upgrade import spaces_of
from tests.gallery.scripted import Scripted, snapshot
from tests.pair import Pair
from tests.support import OTHER_SPACE, SPACE


@pytest.fixture(scope="module")
def upgraded(pair: Pair, sixty: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("upgraded") / "g"
    build_gallery(pair.old, sixty, out, shard_rows=16, progress=False)
    upgrade_gallery(out, pair.new, pair.after)
    return out


@pytest.fixture
def gallery(upgraded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(upgraded, tmp_path / "g"))


def new_items(gallery: Path) -> set[str]:
    return {key for key, space in spaces_of(gallery).items() if space == OTHER_SPACE}


def with_broken(images: ImageSet, broken: tuple[int, ...]) -> ImageSet:
    def read(row: int) -> ImageLike:
        return b"no picture" if row in broken else images.read(row)

    return ImageSet(images.name, images.keys, read, images.labels)


def test_a_whole_back_fill_is_a_gallery_of_the_new_encoder(
    pair: Pair, sixty: ImageSet, gallery: Path, tmp_path: Path
) -> None:
    counted = Scripted(pair.new)
    report = backfill_gallery(gallery, counted, sixty, step=25, progress=False)
    assert (report.embedded, report.to_embed, report.switches, counted.images) == (60, 60, 3, 60)
    assert (report.spaces, report.share, report.former) == ({OTHER_SPACE: 60}, 1.0, SPACE)
    build_gallery(pair.new, sixty, tmp_path / "fresh", progress=False)
    found, wanted = load_embeddings(gallery), load_embeddings(tmp_path / "fresh")
    rows = {key: row for row, key in enumerate(found.keys)}
    assert np.allclose(found.vectors[[rows[key] for key in wanted.keys]], wanted.vectors, atol=1e-6)
    query = pair.new.encode([sixty.read(row) for row in range(10)])
    hits = [[hit.key for hit in row] for row in open_gallery(gallery).search(query, 5)]
    assert hits == [[hit.key for hit in row] for row in open_gallery(tmp_path / "fresh").search(query, 5)]
    assert verify_gallery(gallery).rows == 60
    before = snapshot(gallery)
    again = backfill_gallery(gallery, counted, sixty, progress=False)
    assert (again.nothing, again.embedded, counted.images) == (True, 0, 60)
    assert snapshot(gallery) == before


def test_a_share_is_where_it_stops_and_a_limit_is_how_much_it_does(
    pair: Pair, sixty: ImageSet, gallery: Path
) -> None:
    def run(**how: float) -> int:
        return backfill_gallery(gallery, pair.new, sixty, progress=False, **how).embedded  # type: ignore[arg-type]

    assert run(share=0.25) == 15
    assert run(share=0.25) == 0
    assert run(limit=10) == 10
    assert run(share=0.5, limit=10) == 5
    assert run(limit=100) == 30
    assert open_gallery(gallery).card.spaces == {}


def test_the_order_of_chance_is_that_of_the_ids(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    backfill_gallery(gallery, pair.new, sixty, limit=12, step=5, progress=False)
    order = np.argsort(stable_ids(sixty.keys))
    assert new_items(gallery) == {sixty.keys[row] for row in order[:12]}


def test_the_order_of_gain_is_that_of_the_older_vectors_margins(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    old = pair.old.encode([sixty.read(row) for row in range(60)]).vectors
    order = np.argsort(margins(old, pair.after))
    for done in (7, 20):
        backfill_gallery(
            gallery, pair.new, sixty, order="gain", space=pair.after, share=done / 60, step=4, progress=False
        )
        assert new_items(gallery) == {sixty.keys[row] for row in order[:done]}


def test_what_cannot_work_is_refused_before_anything_is_done(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    before, counted = snapshot(gallery), Scripted(pair.new)

    def run(error: type[Exception], message: str, encoder: object = counted, **how: object) -> None:
        with pytest.raises(error, match=message):
            backfill_gallery(gallery, encoder, sixty, progress=False, **how)  # type: ignore[arg-type]

    run(SpaceMismatch, rf"observed {SPACE}, expected {OTHER_SPACE}\. A new gallery encoder is put in front", pair.old)
    run(SpaceMismatch, f"observed {SPACE}, expected {OTHER_SPACE}", space=pair.before)
    run(UsageError, "no order 'best'", order="best")
    run(UsageError, "'gain' needs the new space.*--space", order="gain")
    run(UsageError, "share is no share: observed 0", share=0)
    run(UsageError, "share is no share: observed 1.5", share=1.5)
    run(UsageError, "limit is too small", limit=0)
    run(UsageError, "step is too small", step=0)
    run(UsageError, "max_errors is too small", max_errors=-1)
    run(UsageError, "workers is too small", workers=-1)
    assert counted.calls == 0
    assert snapshot(gallery) == before
    report = backfill_gallery(gallery, counted, sixty, share=0.5, dry_run=True, progress=False)
    assert (report.dry_run, report.to_embed, counted.calls) == (True, 30, 0)
    assert snapshot(gallery) == before


def test_an_index_that_cannot_remove_is_made_anew(pair: Pair, sixty: ImageSet, tmp_path: Path) -> None:
    build_gallery(pair.old, sixty, tmp_path / "g", factory="HNSW8", progress=False)
    upgrade_gallery(tmp_path / "g", pair.new, pair.after)
    counted = Scripted(pair.new)
    with pytest.raises(UsageError, match=r"'HNSW8' cannot remove vectors: observed 60 .*--rebuild"):
        backfill_gallery(tmp_path / "g", counted, sixty, progress=False)
    assert counted.calls == 0
    assert backfill_gallery(tmp_path / "g", counted, sixty, rebuild=True, progress=False).share == 1.0
    assert verify_gallery(tmp_path / "g").rows == 60


def test_what_cannot_be_read_keeps_its_vector_and_comes_last(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    order = np.argsort(stable_ids(sixty.keys)).tolist()
    first = tuple(order[:3])
    broken = with_broken(sixty, first)
    report = backfill_gallery(gallery, pair.new, broken, limit=6, step=2, progress=False)
    assert (report.exit_code, report.embedded, report.spaces) == (3, 6, {OTHER_SPACE: 3, SPACE: 57})
    names = {sixty.keys[row] for row in first}
    assert {failure.key for failure in report.failures} == names
    assert json.loads((gallery / "gallery.json").read_text())["failures"] == 3
    # The next call begins with others.
    assert backfill_gallery(gallery, pair.new, broken, limit=10, progress=False).exit_code == 0
    report = backfill_gallery(gallery, pair.new, broken, progress=False)
    assert (report.spaces, report.exit_code) == ({OTHER_SPACE: 57, SPACE: 3}, 3)
    assert set(spaces_of(gallery)) - new_items(gallery) == names
    before = snapshot(gallery)
    assert len(backfill_gallery(gallery, pair.new, broken, progress=False).failures) == 3
    assert snapshot(gallery) == before
    report = backfill_gallery(gallery, pair.new, sixty, progress=False)
    assert (report.share, report.exit_code) == (1.0, 0)
    assert json.loads((gallery / "gallery.json").read_text())["failures"] == 0


def test_too_many_that_cannot_be_read(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    broken = with_broken(sixty, tuple(range(60)))
    with pytest.raises(ImageError, match="at most 3 such images"):
        backfill_gallery(gallery, pair.new, broken, step=2, max_errors=3, progress=False)
    with pytest.raises(ImageError, match="at most 0 such images"):
        backfill_gallery(gallery, pair.new, broken, on_error="fail", progress=False)
    assert open_gallery(gallery).card.spaces == {OTHER_SPACE: 0, SPACE: 60}


def test_items_that_are_not_listed_keep_their_vectors(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    more = ImageSet("some", (*sixty.keys[:40], "unknown"), ArrayReader(np.zeros((41, 28, 28), np.uint8)))
    report = backfill_gallery(gallery, pair.new, more, progress=False)
    assert (report.absent, report.embedded, report.spaces) == (20, 40, {OTHER_SPACE: 40, SPACE: 20})
    assert new_items(gallery) == set(sixty.keys[:40])


def test_another_network_of_the_space_is_named(
    pair: Pair, sixty: ImageSet, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scripted, "folder", None, raising=False)
    with pytest.warns(UserWarning, match="'scripted' is another network of the same space"):
        backfill_gallery(gallery, Scripted(pair.new), sixty, limit=1, progress=False)


@pytest.mark.parametrize("call", [1, 2, 4])
def test_a_killed_back_fill_goes_on_at_the_shard(
    pair: Pair, sixty: ImageSet, gallery: Path, tmp_path: Path, call: int
) -> None:
    whole = Path(shutil.copytree(gallery, tmp_path / "whole"))
    how = {"order": "gain", "space": pair.after, "step": 32, "progress": False}
    backfill_gallery(whole, Scripted(pair.new), sixty, **how)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):  # a step of 32 has two shards, and a call of the encoder each
        backfill_gallery(gallery, Scripted(pair.new, die_at=call), sixty, **how)  # type: ignore[arg-type]
    assert verify_gallery(gallery).rows == 60
    second, lines = Scripted(pair.new), []
    report = backfill_gallery(gallery, second, sixty, say=lines.append, **how)  # type: ignore[arg-type]
    assert second.images == 60 - 16 * (call - 1)
    assert (report.reused, report.share) == ((call - 1) % 2, 1.0)
    assert [line.split(":")[0] for line in lines] == (["resumed"] if call in (2, 4) else [])
    assert snapshot(gallery) == snapshot(whole)


def test_a_step_that_was_begun_is_finished_whatever_the_step_is_now(
    pair: Pair, sixty: ImageSet, gallery: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        backfill_gallery(gallery, Scripted(pair.new, die_at=2), sixty, step=32, progress=False)
    second = Scripted(pair.new)
    report = backfill_gallery(gallery, second, sixty, step=7, progress=False)
    assert (second.images, report.reused, report.switches) == (44, 1, 1 + 4)
    assert verify_gallery(gallery).spaces == {}


def test_another_job_drops_what_a_killed_back_fill_left(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    before = snapshot(gallery)
    with pytest.raises(KeyboardInterrupt):
        backfill_gallery(gallery, Scripted(pair.new, die_at=2), sixty, step=60, progress=False)
    lines: list[str] = []
    update_gallery(gallery, pair.new, sixty, progress=False, say=lines.append)
    assert snapshot(gallery) == before
    with pytest.raises(KeyboardInterrupt):
        backfill_gallery(gallery, Scripted(pair.new, die_at=2), sixty, step=60, progress=False)
    assert rollback_upgrade(gallery, say=lines.append).rows == 60
    assert lines == ["what an unfinished job left is dropped: it was another one"] * 2
    card = json.loads((gallery / "gallery.json").read_text())
    assert sorted(snapshot(gallery)) == sorted([*card["files"], "gallery.json"])


@pytest.mark.parametrize("step", ["write_tombstones", "write_card", "settle"])
def test_a_back_fill_killed_while_it_switches(
    pair: Pair, sixty: ImageSet, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    whole = Path(shutil.copytree(gallery, tmp_path / "whole"))
    backfill_gallery(whole, Scripted(pair.new), sixty, share=0.5, step=30, progress=False)

    def die(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        killing.setattr(switch, step, die)
        with pytest.raises(KeyboardInterrupt):
            backfill_gallery(gallery, Scripted(pair.new), sixty, share=0.5, step=30, progress=False)
    switched = open_gallery(gallery).card.spaces[OTHER_SPACE] > 0
    assert switched == (step == "settle")
    second = Scripted(pair.new)
    assert backfill_gallery(gallery, second, sixty, share=0.5, step=30, progress=False).nothing == switched
    assert second.calls == 0
    assert snapshot(gallery) == snapshot(whole)
