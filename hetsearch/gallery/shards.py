"""Embedding shards: ``shard-00042.parquet``, ``manifest.json`` and ``failures.parquet``.

A job writes vectors as it goes, a shard at a time and each whole or absent; indexes are made from the shards
and can be made again from them without any encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from hetsearch.data.pixels import Failure
from hetsearch.errors import DamagedArtifact
from hetsearch.files import read_json, sha256_of, verify_checksums, write_json
from hetsearch.gallery.ids import Ids, stable_ids
from hetsearch.gallery.tables import arrow, read_table, write_table
from hetsearch.space import Vectors, check_vectors, fingerprint_of

SCHEMA = 1
MANIFEST = "manifest.json"
FAILURES = "failures.parquet"

ATTRIBUTES = ("label", "group", "domain", "path")  # columns of text that items may have, in this order


class Plan(BaseModel):
    """What a job set out to do: known before the first image is read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: str  # name of the set of images
    listing: str  # hash over their keys, see ids.listing_hash
    rows: int
    shard_rows: int
    batch_size: int


class ShardEntry(BaseModel):
    """One shard in the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    rows: int
    content: str  # over ids and vectors, whatever Parquet makes of them
    sha256: str


class Manifest(BaseModel):
    """What ``manifest.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str
    encoder: str
    dim: int
    plan: Plan
    shards: tuple[ShardEntry, ...]
    failures: int
    files: dict[str, str]  # of what is no shard


@dataclass(frozen=True)
class Shard:
    """Rows of a job.

    Attributes:
        keys: of the images.
        vectors: ``(n, dim)``, float32, unit rows.
        attributes: columns of text by name, each of length ``n``.
    """

    keys: tuple[str, ...]
    vectors: Vectors
    attributes: dict[str, list[str]]

    @property
    def ids(self) -> Ids:
        """Stable ids, ``(n,)``."""
        return stable_ids(self.keys)

    @property
    def content(self) -> str:
        """SHA-256 over ids (which are hashes of the keys) and vectors."""
        return fingerprint_of({"ids": self.ids, "vectors": self.vectors})


def write_shard(folder: Path, number: int, shard: Shard) -> ShardEntry:
    """Write ``shard-NNNNN.parquet``, whole or not at all.

    Raises:
        DataError: a vector is not finite or not of unit length, or a key comes twice.
    """
    pa, _ = arrow()
    dim = int(shard.vectors.shape[1])
    check_vectors(shard.vectors, dim, what="the vectors of a shard")
    flat = pa.array(np.ascontiguousarray(shard.vectors).ravel(), type=pa.float32())
    columns: dict[str, Any] = {
        "id": pa.array(shard.ids),
        "key": list(shard.keys),
        "vector": pa.FixedSizeListArray.from_arrays(flat, dim),
        **shard.attributes,
    }
    path = folder / f"shard-{number:05d}.parquet"
    write_table(path, columns)
    return ShardEntry(file=path.name, rows=len(shard.keys), content=shard.content, sha256=sha256_of(path))


def read_shard(folder: Path, entry: ShardEntry, dim: int) -> Shard:
    """Read a shard back.

    Raises:
        DamagedArtifact: its checksum, columns, rows or content are not those of the manifest.
    """
    verify_checksums(folder, {entry.file: entry.sha256})
    kinds = {"id": "int64", "key": "string", "vector": f"fixed_size_list<element: float>[{dim}]"}
    table = read_table(folder / entry.file, kinds)
    column = table["vector"].combine_chunks()
    vectors = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
    attributes = {name: table[name].to_pylist() for name in ATTRIBUTES if name in table.column_names}
    shard = Shard(tuple(table["key"].to_pylist()), vectors, attributes)
    if shard.content != entry.content or table["id"].to_numpy().tolist() != shard.ids.tolist():
        raise DamagedArtifact(
            f"'{folder / entry.file}' is not the shard of the manifest",
            observed=f"content {shard.content[:12]}…",
            expected=f"content {entry.content[:12]}…",
            hint="Build the gallery again.",
        )
    return shard


def write_failures(folder: Path, failures: Sequence[Failure]) -> None:
    """Write ``failures.parquet``: key and reason of each image that could not be read, in order."""
    keys, reasons = [failure.key for failure in failures], [failure.reason for failure in failures]
    write_table(folder / FAILURES, {"key": keys, "reason": reasons})


def read_failures(folder: Path) -> tuple[Failure, ...]:
    """Read ``failures.parquet``.

    Raises:
        DamagedArtifact: it cannot be read.
    """
    table = read_table(folder / FAILURES, {"key": "string", "reason": "string"})
    return tuple(Failure(row["key"], row["reason"]) for row in table.to_pylist())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``, whole or not at all."""
    write_json(folder / MANIFEST, {"schema": SCHEMA, **manifest.model_dump(mode="json")})


def read_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``; the shards are verified as they are read.

    Raises:
        UsageError: ``folder`` holds no embeddings.
        DamagedArtifact: it is not whole, or of another schema.
    """
    document = read_json(folder / MANIFEST, what="a folder of embeddings", schema=SCHEMA)
    del document["schema"]
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        observed = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DamagedArtifact(f"'{folder / MANIFEST}' is damaged", observed=observed) from None


def read_shards(folder: Path, manifest: Manifest) -> Iterator[Shard]:
    """Read the shards of a manifest one after the other, each verified."""
    return (read_shard(folder, entry, manifest.dim) for entry in manifest.shards)
