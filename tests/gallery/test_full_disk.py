"""What a job leaves where the disk is full: each write in turn finds no room."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hetsearch import files
from hetsearch.data.images import ImageSet
from hetsearch.errors import HetsearchError, UsageError
from hetsearch.gallery import build_gallery, compact_gallery, delete_items, open_gallery, update_gallery, verify_gallery
from hetsearch.runtime import OnnxEncoder
from tests.gallery.scripted import Scripted, file_limit, snapshot

Job = Callable[[Path], object]


def without_room(monkeypatch: pytest.MonkeyPatch, at: int, job: Job, out: Path) -> HetsearchError | None:
    """Run a job whose ``at``-th file finds no room; the error, or None where it writes fewer."""
    flush, count = files._flush, [0]

    def full(path: Path) -> None:
        count[0] += path.name.endswith(".tmp")
        if count[0] == at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "_flush", full)
        try:
            job(out)
        except HetsearchError as error:
            return error
    return None


def jobs(encoder: OnnxEncoder, images: ImageSet) -> dict[str, Job]:
    listed = images.subset(range(20, 150))
    return {
        "build": lambda out: build_gallery(encoder, images.subset(range(100)), out, shard_rows=40, progress=False),
        "update": lambda out: update_gallery(out, encoder, listed, progress=False),
        "delete": lambda out: delete_items(out, images.keys[:5]),
        "compact": compact_gallery,
    }


@pytest.mark.parametrize("name", ["build", "update", "delete", "compact"])
def test_each_write_may_find_no_room(
    encoder: OnnxEncoder, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    known, start = jobs(encoder, images), tmp_path / "start"
    if name != "build":
        known["build"](start)
    if name == "compact":
        known["delete"](start)
    before = snapshot(start)
    whole = tmp_path / "whole"
    shutil.copytree(start, whole) if before else None
    known[name](whole)
    at = 0
    while True:
        at += 1
        out = tmp_path / f"full at {at}"
        shutil.copytree(start, out) if before else None
        error = without_room(monkeypatch, at, known[name], out)
        if error is None:
            break
        assert "No space left on device" in str(error)
        assert str(out) in str(error)
        assert "Make room, and the same command goes on" in str(error)
        assert error.exit_code == 1
        assert not list(out.rglob("*.tmp"))
        if before:
            assert f"is whole, in generation {open_gallery(out).card.generation}" in str(error)
            assert {path: payload for path, payload in snapshot(out).items() if path in before} == before
        else:
            with pytest.raises(UsageError, match="is not finished"):
                open_gallery(out)
        known[name](out)
        assert snapshot(out) == snapshot(whole)
    assert at > {"build": 8, "update": 6, "delete": 5, "compact": 6}[name]


def test_the_system_says_no(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    """The errors of the libraries that write: pyarrow's in a shard, Python's in the index."""
    out, plan = tmp_path / "g", {"shard_rows": 100, "progress": False}
    with file_limit(6000), pytest.raises(HetsearchError, match=r"the job in .*shard-00000\.parquet': File too large"):
        build_gallery(encoder, images, out, **plan)
    with file_limit(21000), pytest.raises(HetsearchError, match=r"index\.faiss': File too large.*same command goes on"):
        build_gallery(encoder, images, out, **plan)
    counted = Scripted(encoder, name=encoder.name)
    assert build_gallery(counted, images, out, **plan).reused == 3
    assert counted.calls == 0
    assert verify_gallery(out).rows == 300
