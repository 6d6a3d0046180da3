"""Parquet files, written whole and read back with our own errors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hetsearch.errors import DamagedArtifact, MissingExtra, require_extra
from hetsearch.files import atomic_path


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


def write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write a Parquet table, whole or not at all.

    Args:
        path: the file.
        columns: by name, in order: Arrow arrays, or lists of text.
    """
    pa, parquet = arrow()
    text = pa.string()
    arrays = [pa.array(item, type=text) if isinstance(item, list) else item for item in columns.values()]
    with atomic_path(path) as temporary:
        parquet.write_table(pa.table(arrays, names=list(columns)), temporary)


def read_table(path: Path, required: Mapping[str, str]) -> Any:
    """Read a Parquet table.

    Args:
        path: the file.
        required: name of each column that must be there, and its Arrow type as text.

    Raises:
        DamagedArtifact: no such file, no Parquet, or a column is missing or of another type.
    """
    pa, parquet = arrow()
    try:
        # partitioning=None: a folder called "a=b" on the way must not become a column.
        table = parquet.read_table(path, partitioning=None, memory_map=False)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DamagedArtifact(
            f"'{path}' cannot be read", observed=reason, expected="a Parquet table"
        ) from None
    found = {field.name: str(field.type) for field in table.schema}
    for name, kind in required.items():
        if found.get(name) != kind:
            raise DamagedArtifact(
                f"'{path}' has the wrong columns",
                observed=f"{name}: {found.get(name)}",
                expected=f"{name}: {kind}",
            )
    return table
