from __future__ import annotations

from pathlib import Path

import pytest

from hetsearch.errors import UsageError
from hetsearch.gallery.folder import clear_unfinished


def test_what_a_killed_job_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "embeddings").mkdir()
    for name in (
        "embeddings/shard-00000.parquet",
        "embeddings/.shard-00001.parquet.77.0123abcd.tmp",
        "embeddings/manifest.json",
        "embeddings/failures.parquet",
        "index.faiss",
        ".items.parquet.4711.89abcdef.tmp",
    ):
        (tmp_path / name).touch()
    clear_unfinished(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["holiday.jpg", "embeddings/notes.txt", "embeddings/a/shard-00000.parquet"])
def test_anything_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "embeddings").mkdir()
    (tmp_path / "embeddings" / "shard-00000.parquet").touch()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match="is not empty and no gallery"):
        clear_unfinished(tmp_path)
    assert (tmp_path / name).exists()
    assert (tmp_path / "embeddings" / "shard-00000.parquet").exists()


def test_nothing_or_a_file(tmp_path: Path) -> None:
    clear_unfinished(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        clear_unfinished(tmp_path / "file")
