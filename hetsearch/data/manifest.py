"""A table of images, CSV or Parquet: ``key, path, label``, and if wanted ``group, domain, split, role``.

Only ``path`` is needed. Paths are relative to the manifest's folder. Without ``key``, the path is the key.
Columns of other names are left alone. An empty ``group`` is no group; no other cell may be empty.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from hetsearch.data.images import ImageSet, PathReader
from hetsearch.data.texts import TextBuilder, first_repeated
from hetsearch.errors import DataError, nearest, require_extra

SUFFIXES = frozenset({".csv", ".parquet"})
COLUMNS = ("key", "path", "label", "group", "domain", "split", "role")
ROLES = ("query", "gallery")
SHOWN = 300  # characters of a cell that a message shows
BATCH = 4096  # rows that are read at a time
BUFFER = 1 << 20  # bytes of a Parquet column that are read at a time

Cells: TypeAlias = dict[str, list[str]]


@dataclass(frozen=True)
class _Table:
    """A table that is read in batches, so that only its columns stay in memory, and these packed.

    Attributes:
        found: every column that the file has.
        unit: what a row's place in the file is called: "line" or "row".
        batches: reads the file from its beginning: the places of some rows, and their cells by column.
    """

    found: tuple[str, ...]
    unit: str
    batches: Callable[[], Iterator[tuple[Sequence[int], Cells]]]


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
    table = _csv_table(path) if path.suffix.lower() == ".csv" else _parquet_table(path)
    columns = _columns(path, table)
    named = {f"{name}s": cells for name, cells in columns.items() if name not in ("key", "path")}
    keys = columns.get("key", columns["path"])
    images = ImageSet(str(path), keys, PathReader(columns["path"], path.parent), **named)
    return images if split is None else images.select("splits", split)


def _columns(path: Path, table: _Table) -> dict[str, Sequence[str]]:
    """The columns, every cell of them checked."""
    if len(set(table.found)) != len(table.found):
        raise DataError(f"a column of '{path}' comes twice", observed=", ".join(table.found))
    if "path" not in table.found:
        one = len(table.found) == 1 and any(mark in table.found[0] for mark in ";\t")
        raise DataError(
            f"the manifest '{path}' lacks the column 'path'",
            observed=f"columns {', '.join(table.found) or 'none'}",
            expected="path, and if wanted key, label, group, domain, split, role",
            hint="Separate the columns with commas." if one else None,
        )
    builders = {name: TextBuilder() for name in COLUMNS if name in table.found}
    for places, batch in table.batches():
        for name, builder in builders.items():
            _check_cells(path, name, batch[name], [f"{table.unit} {place}" for place in places])
            builder.extend(cell if cell.strip() else "" for cell in batch[name])  # a group may be blank
    columns = {name: builder.done() for name, builder in builders.items()}
    if not columns["path"]:
        raise DataError(f"the manifest '{path}' has no rows", expected="one row an image")
    _refuse_twins(path, table, columns)
    return columns


def _check_cells(path: Path, name: str, cells: Sequence[str], rows: Sequence[str]) -> None:
    for row, cell in zip(rows, cells, strict=True):
        if not cell.strip() and name != "group":
            raise DataError(f"a cell of '{path}' is empty", observed=f"column '{name}', {row}")
        if name == "role" and cell not in ROLES:
            raise DataError(f"unknown role in '{path}'", observed=f"'{cell}' in {row}", hint=nearest(cell, ROLES))
        if name == "path" and not os.path.isfile(os.path.join(path.parent, cell)):
            raise DataError(
                f"an image of '{path}' does not exist",
                observed=f"{row}: '{_clipped(cell)}'",
                expected=f"a file '{_clipped(str(path.parent / cell))}'",
                hint="Paths are relative to the manifest's folder.",
            )


def _clipped(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text):,} characters)"


def _refuse_twins(path: Path, table: _Table, columns: Mapping[str, Sequence[str]]) -> None:
    name = "key" if "key" in columns else "path"
    if (repeated := first_repeated(columns[name])) is None:
        return
    rows = (pair for places, batch in table.batches() for pair in zip(places, batch[name], strict=True))
    found = (f"{table.unit} {place}" for place, cell in rows if cell == repeated)
    raise DataError(
        f"a {name} of '{path}' comes twice",
        observed=f"'{repeated}' in {' and '.join(islice(found, 2))}",
        expected="unique keys",
        hint="" if name == "key" else "Add a column 'key'.",
    )


def _csv_table(path: Path) -> _Table:
    def rows() -> Iterator[tuple[int, list[str]]]:
        try:
            # utf-8-sig: spreadsheets put a byte order mark before the first column's name.
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, strict=True)
                for cells in reader:
                    if cells or reader.line_num == 1:
                        yield reader.line_num, cells
        except (UnicodeDecodeError, csv.Error, OSError) as error:
            raise DataError(
                f"'{path}' is not a CSV table", observed=str(error), expected="UTF-8 and commas"
            ) from None

    header = tuple(name.strip() for name in next(rows(), (1, []))[1])
    wanted = {name: at for at, name in enumerate(header) if name in COLUMNS}

    def batches() -> Iterator[tuple[Sequence[int], Cells]]:
        body = islice(rows(), 1, None)
        while batch := list(islice(body, BATCH)):
            for line, cells in batch:
                if len(cells) != len(header):
                    raise DataError(
                        f"a row of '{path}' has the wrong length",
                        observed=f"{len(cells)} cells in line {line}",
                        expected=f"{len(header)} cells",
                    )
            yield [line for line, _ in batch], {name: [cells[at] for _, cells in batch] for name, at in wanted.items()}

    return _Table(header, "line", batches)


def _parquet_table(path: Path) -> _Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise require_extra("pyarrow", "gallery") from None

    def batches() -> Iterator[tuple[Sequence[int], Cells]]:
        start = 1
        try:
            # A row group may hold the whole table; it is read page by page.
            with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
                wanted = [name for name in COLUMNS if name in found]
                for batch in file.iter_batches(BATCH, columns=wanted, use_threads=False):
                    places = range(start, start + batch.num_rows)
                    yield places, {name: _texts(path, name, places, batch[name].to_pylist()) for name in wanted}
                    start = places.stop
            pa.default_memory_pool().release_unused()  # Arrow would keep what it has read through
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise _no_parquet(path, error) from None

    try:
        found = tuple(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise _no_parquet(path, error) from None
    return _Table(found, "row", batches)


def _no_parquet(path: Path, error: Exception) -> DataError:
    return DataError(f"'{path}' is not a Parquet table", observed=" ".join(str(error).split()))


def _texts(path: Path, name: str, places: Sequence[int], cells: Sequence[Any]) -> list[str]:
    # Python would write bytes, lists and NaN as text too, and they would become labels.
    for row, cell in zip(places, cells, strict=True):
        if isinstance(cell, (bytes, list, dict)) or cell != cell:
            raise DataError(
                f"a cell of '{path}' is not text",
                observed=f"{type(cell).__name__} {cell!r} in column '{name}', row {row}",
                expected="text or whole numbers",
            )
    return ["" if cell is None else str(cell) for cell in cells]
