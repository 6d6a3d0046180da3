from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from hetsearch.errors import HetsearchError, UsageError
from hetsearch.gallery.folder import exclusive, require_ours, sweep

OURS = (
    "embeddings/shard-00000.parquet",
    "embeddings/.shard-00001.parquet.77.0123abcd.tmp",
    "embeddings/manifest.json",
    "embeddings/failures.parquet",
    "embeddings/tombstones-00002.parquet",
    "index.faiss",
    "items-00012.parquet",
    ".items.parquet.4711.89abcdef.tmp",
    ".gallery.json.4711.89abcdef.tmp",
)


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize("where", ["gallery", "embeddings"])
def test_what_nobody_needs_is_removed(tmp_path: Path, where: str) -> None:
    make(tmp_path / where, *OURS)
    require_ours(tmp_path / where)
    sweep(tmp_path / where, frozenset({"index.faiss", "embeddings/manifest.json"}))
    left = [path.relative_to(tmp_path / where).as_posix() for path in (tmp_path / where).rglob("*") if path.is_file()]
    assert sorted(left) == ["embeddings/manifest.json", "index.faiss"]


@pytest.mark.parametrize(
    "name", ["holiday.jpg", "embeddings/notes.txt", "embeddings/a/shard-00000.parquet", "items.parquet.bak"]
)
def test_anything_else_is_left_alone(tmp_path: Path, name: str) -> None:
    make(tmp_path, "embeddings/shard-00000.parquet", name)
    with pytest.raises(UsageError, match="is not empty and no gallery"):
        require_ours(tmp_path)
    sweep(tmp_path, frozenset())
    assert (tmp_path / name).exists()
    assert not (tmp_path / "embeddings" / "shard-00000.parquet").exists()


def test_nothing_or_a_file(tmp_path: Path) -> None:
    require_ours(tmp_path / "new")
    make(tmp_path, "file", "g/embeddings")
    with pytest.raises(UsageError, match="is not a folder"):
        require_ours(tmp_path / "file")
    with pytest.raises(UsageError, match="file' is not a folder"):
        require_ours(tmp_path / "file" / "below" / "it")
    with pytest.raises(UsageError, match="observed 'embeddings'"):
        require_ours(tmp_path / "g")


def test_what_the_system_refuses_is_said_in_our_words(tmp_path: Path) -> None:
    for number, word in ((errno.ENOSPC, "Make room"), (errno.EIO, "Mend that")):
        message = f"the job in .* stopped: observed 'x': .*{word}, and the same command"
        with pytest.raises(HetsearchError, match=message) as caught, exclusive(tmp_path):
            raise OSError(number, os.strerror(number), "x")
        assert caught.value.exit_code == 1
    with exclusive(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="cannot be locked"), exclusive(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_one_job_at_a_time(tmp_path: Path) -> None:
    with exclusive(tmp_path):
        with pytest.raises(UsageError, match="another job is at work"), exclusive(tmp_path):
            raise AssertionError("two jobs hold the folder")
        assert list(tmp_path.iterdir()) == []
    with exclusive(tmp_path):
        assert list(tmp_path.iterdir()) == []
