"""What a gallery does not hold, beside its shards: ``failures.parquet`` and ``tombstones.parquet``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.pixels import Failure
from hetsearch.gallery.manifest import generation_name
from hetsearch.gallery.tables import arrow, read_table, write_table

FAILURES = "failures.parquet"
TOMBSTONES = "tombstones.parquet"


def write_failures(folder: Path, failures: Sequence[Failure], generation: int = 1) -> str:
    """Write ``failures.parquet``: key and reason of each image that could not be read. The file's name comes back."""
    keys, reasons = [failure.key for failure in failures], [failure.reason for failure in failures]
    name = generation_name(FAILURES, generation)
    write_table(folder / name, {"key": keys, "reason": reasons})
    return name


def read_failures(folder: Path, generation: int = 1) -> tuple[Failure, ...]:
    """Read ``failures.parquet``.

    Raises:
        DamagedArtifact: it cannot be read.
    """
    table = read_table(folder / generation_name(FAILURES, generation), {"key": "string", "reason": "string"})
    return tuple(Failure(row["key"], row["reason"]) for row in table.to_pylist())


def write_tombstones(folder: Path, dead: Mapping[str, NDArray[np.int64]], generation: int) -> str:
    """Write ``tombstones.parquet``: the rows of each shard that no longer count. Its name comes back."""
    pa, _ = arrow()
    name = generation_name(TOMBSTONES, generation)
    files = [file for file, rows in dead.items() for _ in range(len(rows))]
    rows = np.concatenate([np.empty(0, np.int64), *(np.asarray(rows, np.int64) for rows in dead.values())])
    write_table(folder / name, {"shard": files, "row": pa.array(rows)})
    return name


def read_tombstones(folder: Path, generation: int) -> dict[str, NDArray[np.int64]]:
    """Read ``tombstones.parquet``: sorted rows by shard.

    Raises:
        DamagedArtifact: it cannot be read.
    """
    table = read_table(folder / generation_name(TOMBSTONES, generation), {"shard": "string", "row": "int64"})
    files, rows = np.array(table["shard"].to_pylist(), dtype=object), table["row"].to_numpy()
    return {file: np.sort(rows[files == file]) for file in dict.fromkeys(files.tolist())}
