from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest

from hetsearch.errors import DamagedArtifact, MissingExtra
from hetsearch.gallery.tables import arrow, read_table, write_table


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "part=1" / "t.parquet"
    write_table(path, {"key": ["a", "ü"], "id": pa.array([1, 2])})
    table = read_table(path, {"key": "string", "id": "int64"})
    assert table.to_pydict() == {"key": ["a", "ü"], "id": [1, 2]}
    assert [item.name for item in path.parent.iterdir()] == ["t.parquet"]


def test_an_empty_column_keeps_its_type(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"key": []})
    assert read_table(tmp_path / "t.parquet", {"key": "string"}).num_rows == 0


def test_no_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(DamagedArtifact, match="cannot be read"):
        read_table(path, {})
    path.write_bytes(b"PAR1 no")
    with pytest.raises(DamagedArtifact, match="cannot be read"):
        read_table(path, {})


def test_other_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"key": ["a"]})
    with pytest.raises(DamagedArtifact, match="observed id: None, expected id: int64"):
        read_table(tmp_path / "t.parquet", {"key": "string", "id": "int64"})


def test_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'hetsearch\[gallery\]'"):
        arrow()
