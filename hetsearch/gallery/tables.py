"""Parquet files, written whole and read back with our own errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hetsearch.errors import DamagedArtifact, MissingExtra, require_extra
from hetsearch.files import atomic_path
from hetsearch.gallery.ids import Ids


def arrow() -> tuple[ModuleType, ModuleType]:
    """``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        MissingExtra: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise missing("pyarrow") from None
    return pyarrow, pyarrow.parquet


def missing(module: str) -> MissingExtra:
    """The error for a package that the galleries need and that is not installed."""
    return require_extra(module, "gallery")


def write_table(path: Path, columns: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> None:
    """Write a Parquet table, whole or not at all.

    Args:
        path: the file.
        columns: by name, in order: Arrow arrays, or lists of text.
        metadata: text by name, kept in the file's footer.
    """
    pa, _ = arrow()
    text = pa.string()
    arrays = [pa.array(item, type=text) if isinstance(item, list) else item for item in columns.values()]
    table = pa.table(arrays, names=list(columns)).replace_schema_metadata(dict(metadata or {}))
    with table_writer(path, table.schema) as writer:
        writer.write_table(table)


@contextmanager
def table_writer(path: Path, schema: Any) -> Iterator[Any]:
    """A Parquet file that takes tables of one schema, one after the other; whole or not at all."""
    _, parquet = arrow()
    with atomic_path(path) as temporary:
        # Vectors never repeat, so a dictionary of them would only cost.
        words = [field.name for field in schema if str(field.type) == "string"]
        with parquet.ParquetWriter(temporary, schema, use_dictionary=words, write_page_checksum=True) as writer:
            yield writer


def read_table(path: Path, required: Mapping[str, str], columns: Sequence[str] | None = None) -> Any:
    """Read a Parquet table; a page that does not have its checksum is damage.

    Args:
        path: the file.
        required: name of each column that must be there, and its Arrow type as text.
        columns: read only those of these that there are.

    Raises:
        DamagedArtifact: no such file, no Parquet, or a column is missing or of another type.
    """
    pa, parquet = arrow()
    try:
        # One file needs none of what Arrow knows of data sets, which takes a fifth of a second to import.
        with parquet.ParquetFile(path, memory_map=False, page_checksum_verification=True) as file:
            found = {field.name: str(field.type) for field in file.schema_arrow}
            table = file.read(None if columns is None else [name for name in columns if name in found])
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedArtifact(
            f"'{path}' cannot be read", observed=reason, expected="a Parquet table"
        ) from None
    for name, kind in required.items():
        if found.get(name) != kind:
            raise DamagedArtifact(
                f"'{path}' has the wrong columns",
                observed=f"{name}: {found.get(name)}",
                expected=f"{name}: {kind}",
            )
    return table


def ids_of(table: Any) -> Ids:
    """The ids of a table's rows, ``(rows,)``.

    Raises:
        DamagedArtifact: a row has none.
    """
    column = table["id"]
    if column.null_count:
        raise DamagedArtifact("a table has rows without an id", observed=f"{column.null_count} of {len(column)}")
    # Arrow's own ways into NumPy and out of it would import pandas wherever it is installed, for nothing.
    ids: Ids = np.from_dlpack(column.combine_chunks()).astype(np.int64, copy=False)
    return ids


def take_rows(table: Any, places: Ids) -> Any:
    """The rows of a table, or of one column, at ``places``, in that order; as in :func:`ids_of`, without pandas."""
    pa, _ = arrow()
    indices = np.ascontiguousarray(places, dtype=np.int64)
    return table.take(pa.Array.from_buffers(pa.int64(), len(indices), [None, pa.py_buffer(indices)]))


def read_names(path: Path) -> tuple[str, ...]:
    """The names of a table's columns.

    Raises:
        DamagedArtifact: it cannot be read.
    """
    pa, parquet = arrow()
    try:
        return tuple(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise DamagedArtifact(
            f"'{path}' cannot be read", observed=" ".join(str(error).split())[:200], expected="a Parquet table"
        ) from None


def read_metadata(path: Path, name: str) -> str | None:
    """The text called ``name`` in a file's footer; None where there is no such file, text, or footer."""
    pa, parquet = arrow()
    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    found = metadata.get(name.encode())
    return None if found is None else str(found.decode())
