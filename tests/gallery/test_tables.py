from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from hetsearch.errors import DamagedArtifact, MissingExtra
from hetsearch.gallery.tables import arrow, ids_of, read_table, take_rows, write_table


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "part=1" / "t.parquet"
    write_table(path, {"key": ["a", "ü"], "id": pa.array([1, 2])})
    table = read_table(path, {"key": "string", "id": "int64"})
    assert table.to_pydict() == {"key": ["a", "ü"], "id": [1, 2]}
    assert [item.name for item in path.parent.iterdir()] == ["t.parquet"]


def test_an_empty_column_keeps_its_type(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"key": []})
    assert read_table(tmp_path / "t.parquet", {"key": "string"}).num_rows == 0


def test_ids_of_any_number_of_chunks() -> None:
    for chunks in ([], [[3, -1], [7]], [[5]]):
        table = pa.table({"id": pa.chunked_array(chunks, pa.int64())})
        assert ids_of(table).tolist() == [number for chunk in chunks for number in chunk]
        assert ids_of(table.slice(1)).tolist() == table["id"].to_pylist()[1:]
    with pytest.raises(DamagedArtifact, match="rows without an id: observed 1 of 2"):
        ids_of(pa.table({"id": pa.array([1, None])}))


def test_rows_are_taken_in_order() -> None:
    table = pa.table({"key": pa.chunked_array([["a", "b"], ["c"]])})
    for places in ([], [2, 0, 0], [1]):
        taken = take_rows(table, np.array(places, dtype=np.int64))
        assert taken["key"].to_pylist() == ["abc"[place] for place in places]
    assert take_rows(table["key"], np.arange(3)[::-2]).to_pylist() == ["c", "a"]


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
