"""A table of images, CSV or Parquet: ``key, path, label``, and if wanted ``group, domain, split, role``.

Only ``path`` is needed. Paths are relative to the manifest's folder. Without ``key``, the path is the key.
Columns of other names are left alone. An empty ``group`` is no group; no other cell may be empty.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hetsearch.data.images import ImageSet, PathReader, first_repeated
from hetsearch.errors import DataError, nearest, require_extra

SUFFIXES = frozenset({".csv", ".parquet"})
COLUMNS = ("key", "path", "label", "group", "domain", "split", "role")
ROLES = ("query", "gallery")


@dataclass(frozen=True)
class _Table:
    columns: dict[str, list[str]]  # only those of COLUMNS
    places: Sequence[int]  # where each row stands in the file
    unit: str  # what a place is called: "line" or "row"
    found: tuple[str, ...]  # every column that the file has

    def where(self, row: int) -> str:
        return f"{self.unit} {self.places[row]}"


def open_manifest(path: Path, split: str | None = None) -> ImageSet:
    """Read a manifest and check every row.

    Args:
        path: a ``.csv`` (UTF-8, commas, a header) or ``.parquet`` file.
        split: keep only the rows of this split.

    Raises:
        DataError: no such file, not a table, no ``path`` column, no rows, an empty cell, an unknown role, a
            key that comes twice, an image file that does not exist, or a split that no row has.
        MissingExtra: the manifest is Parquet and pyarrow is not installed.
    """
    if not path.is_file():
        raise DataError(f"there is no manifest '{path}'", hint="Check the path.")
    table = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    _check_table(path, table)
    files = tuple(table.columns["path"])
    for row, cell in enumerate(files):
        if not (path.parent / cell).is_file():
            raise DataError(
                f"an image of '{path}' does not exist",
                observed=f"{table.where(row)}: '{cell}'",
                expected=f"a file '{path.parent / cell}'",
                hint="Paths are relative to the manifest's folder.",
            )
    # A group may be blank; nothing else is by now.
    columns = {name: tuple(cell if cell.strip() else "" for cell in cells) for name, cells in table.columns.items()}
    named = {f"{name}s": cells for name, cells in columns.items() if name not in ("key", "path")}
    keys = tuple(table.columns.get("key", table.columns["path"]))
    images = ImageSet(str(path), keys, PathReader(files, path.parent), **named)
    return images if split is None else images.select("splits", split)


def _check_table(path: Path, table: _Table) -> None:
    if "path" not in table.columns:
        one = len(table.found) == 1 and any(mark in table.found[0] for mark in ";\t")
        raise DataError(
            f"the manifest '{path}' lacks the column 'path'",
            observed=f"columns {', '.join(table.found) or 'none'}",
            expected="path, and if wanted key, label, group, domain, split, role",
            hint="Separate the columns with commas." if one else None,
        )
    if not table.columns["path"]:
        raise DataError(f"the manifest '{path}' has no rows", expected="one row an image")
    for name, cells in table.columns.items():
        for row, cell in enumerate(cells):
            if not cell.strip() and name != "group":
                raise DataError(
                    f"a cell of '{path}' is empty", observed=f"column '{name}', {table.where(row)}"
                )
            if name == "role" and cell not in ROLES:
                raise DataError(
                    f"unknown role in '{path}'",
                    observed=f"'{cell}' in {table.where(row)}",
                    hint=nearest(cell, ROLES),
                )
    name = "key" if "key" in table.columns else "path"
    if (repeated := first_repeated(table.columns[name])) is not None:
        rows = [row for row, cell in enumerate(table.columns[name]) if cell == repeated]
        raise DataError(
            f"a {name} of '{path}' comes twice",
            observed=f"'{repeated}' in {' and '.join(map(table.where, rows[:2]))}",
            expected="unique keys",
            hint="" if name == "key" else "Add a column 'key'.",
        )


def _read_csv(path: Path) -> _Table:
    try:
        # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = tuple(name.strip() for name in next(reader, []))
            rows = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise DataError(
            f"'{path}' is not a CSV table", observed=str(error), expected="UTF-8 and commas"
        ) from None
    for line, cells in rows:
        if len(cells) != len(header):
            raise DataError(
                f"a row of '{path}' has the wrong length",
                observed=f"{len(cells)} cells in line {line}",
                expected=f"{len(header)} cells",
            )
    _check_header(path, header)
    columns = {name: [cells[at] for _, cells in rows] for at, name in enumerate(header) if name in COLUMNS}
    return _Table(columns, [line for line, _ in rows], "line", header)


def _read_parquet(path: Path) -> _Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise require_extra("pyarrow", "gallery") from None
    try:
        found = tuple(pq.read_schema(path).names)
        _check_header(path, found)
        table = pq.read_table(path, columns=[name for name in COLUMNS if name in found])
        columns = {name: _texts(path, name, table[name].to_pylist()) for name in table.column_names}
    except (pa.ArrowException, OSError) as error:
        observed = " ".join(str(error).split())
        raise DataError(f"'{path}' is not a Parquet table", observed=observed) from None
    return _Table(columns, range(1, table.num_rows + 1), "row", found)


def _check_header(path: Path, header: Sequence[str]) -> None:
    if len(set(header)) != len(header):
        raise DataError(f"a column of '{path}' comes twice", observed=", ".join(header))


def _texts(path: Path, name: str, cells: Sequence[Any]) -> list[str]:
    # Python would write bytes, lists and NaN as text too, and they would become labels.
    for row, cell in enumerate(cells, start=1):
        if isinstance(cell, (bytes, list, dict)) or cell != cell:
            raise DataError(
                f"a cell of '{path}' is not text",
                observed=f"{type(cell).__name__} {cell!r} in column '{name}', row {row}",
                expected="text or whole numbers",
            )
    return ["" if cell is None else str(cell) for cell in cells]
