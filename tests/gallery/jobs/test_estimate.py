from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hetsearch.data.images import ImageSet
from hetsearch.data.sources import open_source
from hetsearch.errors import DataError, SpaceMismatch, UsageError
from hetsearch.gallery import build_gallery, plan_gallery
from hetsearch.gallery.jobs import estimate as module
from hetsearch.runtime import OnnxEncoder, load_encoder
from tests.gallery.scripted import Scripted
from tests.support import OTHER_SPACE, linear_bundle


def sizes(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern))


@pytest.mark.parametrize("factory", ["Flat", "SQ8"])
def test_the_plan_is_near_to_what_comes(
    encoder: OnnxEncoder, fashion_folder: Path, tmp_path: Path, factory: str
) -> None:
    images = open_source(str(fashion_folder))
    out = tmp_path / "g"
    expected = plan_gallery(encoder, images, out, factory=factory, shard_rows=64)
    assert not out.exists()
    build_gallery(encoder, images, out, factory=factory, shard_rows=64, progress=False)
    assert (expected.images, expected.shards, expected.shards_there) == (200, 4, 0)
    # Footers weigh most in shards this small; text is packed.
    assert sizes(out, "shard-*") == pytest.approx(expected.shard_bytes, rel=0.6)
    assert sizes(out, "index.faiss") == pytest.approx(expected.index_bytes, rel=0.1, abs=300)
    assert sizes(out, "items.parquet") <= expected.item_bytes
    assert expected.memory_bytes > expected.index_bytes
    assert expected.seconds == pytest.approx(200 / expected.images_per_second)
    assert expected.fits
    assert json.loads(json.dumps(expected.as_dict()))["needed_bytes"] == expected.needed_bytes


def test_what_is_there_is_not_counted_again(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    out = tmp_path / "g"
    whole = plan_gallery(encoder, images, out, shard_rows=100)
    build_gallery(encoder, images, out, shard_rows=100, progress=False)
    (out / "gallery.json").unlink()
    (out / "embeddings" / "shard-00001.parquet").unlink()
    left = plan_gallery(encoder, images, out)
    assert (left.shards, left.shards_there) == (3, 2)
    assert left.needed_bytes == pytest.approx(whole.needed_bytes - 1.02 * whole.shard_bytes * 2 / 3, abs=2)
    assert left.seconds == pytest.approx(100 / left.images_per_second)


def test_a_finished_gallery_costs_nothing(encoder: OnnxEncoder, images: ImageSet, built: Path) -> None:
    expected = plan_gallery(encoder, images, built)
    assert (expected.images, expected.needed_bytes, expected.images_per_second) == (0, 0, None)


def test_what_the_job_would_refuse_is_refused(
    encoder: OnnxEncoder, images: ImageSet, built: Path, tmp_path: Path
) -> None:
    other = load_encoder(linear_bundle(tmp_path / "other", space=OTHER_SPACE))
    with pytest.raises(SpaceMismatch):
        plan_gallery(other, images, built)
    with pytest.raises(UsageError, match="index update"):
        plan_gallery(encoder, images, built, limit=5)
    with pytest.raises(UsageError, match="cannot make an index of 'Flatt'"):
        plan_gallery(encoder, images, tmp_path / "g", factory="Flatt")
    broken = replace(images, read=lambda row: b"")
    with pytest.raises(DataError, match="none of 66 images of 'slice' can be read: observed the image is empty"):
        plan_gallery(encoder, broken, tmp_path / "g")


def test_a_disk_without_room(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a" / "b"
    needed = plan_gallery(encoder, images, out).needed_bytes
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed - 1))
    assert not plan_gallery(encoder, images, out).fits
    with pytest.raises(UsageError, match=r"no room for this job: observed .* MB free, expected .* shards .* index"):
        build_gallery(encoder, images, out, progress=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed))
    assert build_gallery(encoder, images, out, progress=False).rows == 300


def test_a_machine_without_memory(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "g"
    expected = plan_gallery(encoder, images, out)
    assert expected.fits
    assert expected.memory_total > expected.memory_bytes  # of the machine that runs this
    monkeypatch.setattr(module, "_memory_total", lambda: expected.memory_bytes // 2)
    assert plan_gallery(encoder, images, out).lacking == "memory"
    scripted = Scripted(encoder)
    with pytest.raises(UsageError, match=r"the memory of this machine has no room.*MB, of these the index"):
        build_gallery(scripted, images, out, progress=False)
    assert scripted.calls == 0
    monkeypatch.setattr(module, "_memory_total", lambda: 0)  # a system that does not tell
    assert plan_gallery(encoder, images, out).fits
