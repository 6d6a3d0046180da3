from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hetsearch.data.check import check
from hetsearch.data.manifest import open_manifest
from hetsearch.errors import DataError, MissingExtra

COLUMNS = ("key", "path", "label", "group", "domain", "split", "role")
ROWS: list[dict[str, Any]] = [
    dict(zip(COLUMNS, cells, strict=True))
    for cells in (
        ("q1", "one.png", "Bag", "g1", "shop", "test", "query"),
        ("g1", "sub/zwei ü.png", "Bag, red", "g1", "user", "test", "gallery"),
        ("g2", "sub/三.png", "Coat", "g2", "shop", "train", "gallery"),
    )
]


def write(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    """A manifest of ``rows`` beside empty image files; a manifest does not open its images."""
    for row in rows:
        if row.get("path"):
            path = folder / str(row["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    target = folder / f"table.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), target)
        return target
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return target


def text(folder: Path, content: str) -> Path:
    for name in ("a.png", "b.png"):
        (folder / name).touch()
    (folder / "table.csv").write_text(content, encoding="utf-8")
    return folder / "table.csv"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_all_columns(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind, ROWS)
    images = open_manifest(path)
    assert images.name == str(path)
    assert images.keys == ("q1", "g1", "g2")
    assert [images.read(index) for index in range(3)] == [tmp_path / str(row["path"]) for row in ROWS]
    assert images.labels == ("Bag", "Bag, red", "Coat")
    assert images.groups == ("g1", "g1", "g2")
    assert images.domains == ("shop", "user", "shop")
    assert images.splits == ("test", "test", "train")
    assert images.roles == ("query", "gallery", "gallery")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_one_split(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind, ROWS)
    images = open_manifest(path, "test")
    assert (images.name, images.keys) == (f"{path}:test", ("q1", "g1"))
    with pytest.raises(DataError, match=r"has the split 'val'.*Known: test, train"):
        open_manifest(path, "val")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_only_paths(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind, [{"path": row["path"], "price": 3} for row in ROWS])
    images = open_manifest(path)
    assert images.keys == ("one.png", "sub/zwei ü.png", "sub/三.png")
    assert (images.labels, images.roles, images.splits) == (None, None, None)
    with pytest.raises(DataError, match=r"has no splits.*a column 'split'"):
        open_manifest(path, "test")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_empty_group_is_no_group(tmp_path: Path, kind: str) -> None:
    empty = None if kind == "parquet" else ""
    rows = [{**row, "group": group} for row, group in zip(ROWS, ("g1", empty, "  "), strict=True)]
    images = open_manifest(write(tmp_path, kind, rows))
    assert images.groups == ("g1", "", "")
    assert check(images).n_groups == 1


def test_a_spreadsheets_csv(tmp_path: Path) -> None:
    path = text(tmp_path, "\ufeffpath, label\r\na.png,x\r\n\r\nb.png,y\r\n")
    assert open_manifest(path).labels == ("x", "y")


def test_numbers_in_parquet_become_text(tmp_path: Path) -> None:
    path = write(tmp_path, "parquet", [{"key": 7, "path": "a.png", "label": 3}])
    images = open_manifest(path)
    assert (images.keys, images.labels) == (("7",), ("3",))


@pytest.mark.parametrize("cell", [b"x", [1, 2], {"a": 1}, float("nan")], ids=str)
def test_a_parquet_cell_that_is_not_text(tmp_path: Path, cell: object) -> None:
    path = write(tmp_path, "parquet", [ROWS[0], {**ROWS[1], "label": "x"}])
    labels = pa.array([cell, cell])
    pq.write_table(pq.read_table(path).set_column(2, "label", labels), path)
    with pytest.raises(DataError, match=r"is not text: observed .* in column 'label', row 1, expected text"):
        open_manifest(path)


def test_a_parquet_text_that_is_no_text(tmp_path: Path) -> None:
    bytes_of = pa.array([b"\xff\xfe"], pa.binary()).buffers()
    pq.write_table(pa.table({"path": pa.Array.from_buffers(pa.string(), 1, bytes_of)}), tmp_path / "table.parquet")
    with pytest.raises(DataError, match=r"is not a Parquet table: observed 'utf-8' codec can't decode byte 0xff"):
        open_manifest(tmp_path / "table.parquet")


def test_a_long_path_is_not_shown_whole(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not exist: .*'x{300}… \(5,000 characters\)', expected") as caught:
        open_manifest(text(tmp_path, f"path\n{'x' * 5000}\n"))
    assert len(str(caught.value)) < 1200


def test_a_parquet_column_that_comes_twice(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table([pa.array(["a.png"]), pa.array(["b.png"])], names=["path", "path"]), path)
    with pytest.raises(DataError, match=r"a column of .* comes twice: observed path, path"):
        open_manifest(path)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_marks_than_commas(tmp_path: Path, mark: str) -> None:
    with pytest.raises(DataError, match=r"lacks the column 'path'.*Separate the columns with commas"):
        open_manifest(text(tmp_path, f"path{mark}label\na.png{mark}x\n"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_missing_column(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind, [{"key": "a", "file": "a.png"}])
    with pytest.raises(DataError, match=r"lacks the column 'path': observed columns key, file"):
        open_manifest(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_missing_image_names_row_and_path(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind, ROWS)
    (tmp_path / "sub" / "三.png").unlink()
    place = "line 4" if kind == "csv" else "row 3"
    with pytest.raises(DataError, match=f"does not exist: observed {place}: 'sub/三.png'.*Paths are"):
        open_manifest(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label", "", "is empty: observed column 'label', (line 3|row 2)"),
        ("key", " ", "is empty: observed column 'key', (line 3|row 2)"),
        ("role", "querry", r"unknown role.*'querry' in (line 3|row 2).*Did you mean 'query'\?"),
        ("key", "q1", "a key of .* comes twice: observed 'q1' in (line 2 and line 3|row 1 and row 2)"),
    ],
)
def test_a_wrong_cell(tmp_path: Path, kind: str, column: str, value: str, message: str) -> None:
    path = write(tmp_path, kind, [ROWS[0], {**ROWS[1], column: value}, ROWS[2]])
    with pytest.raises(DataError, match=message):
        open_manifest(path)


def test_a_null_in_parquet_is_an_empty_cell(tmp_path: Path) -> None:
    path = write(tmp_path, "parquet", [ROWS[0], {**ROWS[1], "label": None}])
    with pytest.raises(DataError, match="is empty: observed column 'label', row 2"):
        open_manifest(path)


def test_a_path_that_comes_twice_asks_for_keys(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a path of .* comes twice: observed 'a.png'.*Add a column 'key'"):
        open_manifest(text(tmp_path, "path\na.png\nb.png\na.png\n"))
    assert len(open_manifest(text(tmp_path, "key,path\n1,a.png\n2,a.png\n"))) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "lacks the column 'path': observed columns none"),
        ("path,label\n", "has no rows"),
        ("path,label\na.png,x\nb.png\n", "wrong length: observed 1 cells in line 3, expected 2 cells"),
        ("path,label\na.png,x,y\n", "wrong length: observed 3 cells in line 2"),
        ("path,path\na.png,b.png\n", "a column of .* comes twice"),
        ('path\n"a.png\n', "is not a CSV table"),
    ],
)
def test_a_malformed_csv(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_manifest(text(tmp_path, content))


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("path\nü.png\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"is not a CSV table.*UTF-8"):
        open_manifest(tmp_path / "latin.csv")
    (tmp_path / "text.parquet").write_text("path\na.png\n")
    with pytest.raises(DataError, match="is not a Parquet table"):
        open_manifest(tmp_path / "text.parquet")
    with pytest.raises(DataError, match="there is no manifest"):
        open_manifest(tmp_path / "absent.csv")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "parquet", ROWS)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'hetsearch\[gallery\]'"):
        open_manifest(path)
