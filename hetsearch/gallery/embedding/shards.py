"""Embedding shards: ``shard-00042.parquet``.

A shard is written once and never changed; each is whole or absent, and says in its footer for which job it was made
and which images could not be read. So a job that is killed goes on from the shards alone. Rows that no longer count
are named in ``tombstones.parquet`` until the gallery is compacted. Indexes are made from the shards and can be made
again from them without any encoder.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.pixels import Failure
from hetsearch.data.reading import DIGEST, Contents
from hetsearch.errors import DamagedArtifact
from hetsearch.files import sha256_of, verify_checksums
from hetsearch.gallery.card import SPACE
from hetsearch.gallery.ids import Ids, listing_hash, stable_ids
from hetsearch.gallery.manifest import Manifest, ShardEntry, read_manifest
from hetsearch.gallery.omitted import read_tombstones
from hetsearch.gallery.tables import arrow, read_metadata, read_table, write_table
from hetsearch.space import Vectors, check_vectors, fingerprint_of

FOOTER = "hetsearch"

ATTRIBUTES = ("label", "group", "domain", "path")  # columns of text that items may have, in this order

Rows = NDArray[np.int64]
Columns = Mapping[str, Sequence[str | None]]  # of text, by name: key, attributes and space of each row


@dataclass(frozen=True)
class Shard:
    """Rows of a job.

    Attributes:
        keys: of the images.
        vectors: ``(n, dim)``, float32, unit rows; ``(n, 0)`` where they were not read.
        attributes: columns of text by name, each of length ``n``.
        contents: ``(n, 32)``, SHA-256 of each image's file.
    """

    keys: tuple[str, ...]
    vectors: Vectors
    attributes: dict[str, list[str | None]]
    contents: Contents

    @cached_property
    def ids(self) -> Ids:
        """Stable ids, ``(n,)``: a hash of each key, which reading a shard asks for three times."""
        return stable_ids(self.keys)

    @property
    def content(self) -> str:
        """SHA-256 over ids (which are hashes of the keys), vectors, attributes and the images' own hashes."""
        words = {name: np.frombuffer(listing_hash(values).encode(), np.uint8) for name, values in self._named()}
        return fingerprint_of({"ids": self.ids, "vectors": self.vectors, "contents": self.contents, **words})

    def take(self, rows: Sequence[int] | Rows) -> Shard:
        """Some of the rows, in the order that is given."""
        chosen = [int(row) for row in rows]
        return Shard(
            tuple(self.keys[row] for row in chosen),
            self.vectors[chosen],
            {name: [values[row] for row in chosen] for name, values in self.attributes.items()},
            self.contents[chosen],
        )

    def join(self, other: Shard) -> Shard:
        """These rows, then the other's. A column that only one of them has is empty for the rest."""
        names = [name for name in ATTRIBUTES if name in self.attributes or name in other.attributes]
        return Shard(
            (*self.keys, *other.keys),
            np.concatenate([self.vectors, other.vectors]),
            {name: [*self._column(name), *other._column(name)] for name in names},
            np.concatenate([self.contents, other.contents]),
        )

    def _column(self, name: str) -> list[str | None]:
        return self.attributes.get(name, [None] * len(self.keys))

    def _named(self) -> list[tuple[str, list[str]]]:
        return [(f"attribute {name}", ["" if cell is None else cell for cell in values])
                for name, values in self.attributes.items()]  # fmt: skip


def shard_name(number: int) -> str:
    """What the shard of a number is called."""
    return f"shard-{number:05d}.parquet"


def write_shard(
    folder: Path,
    number: int,
    shard: Shard,
    job: str = "",
    failures: Sequence[Failure] = (),
    space: str | None = None,
) -> ShardEntry:
    """Write ``shard-NNNNN.parquet``, whole or not at all.

    Args:
        folder: of the shards.
        number: of the shard.
        shard: its rows; there may be none.
        job: :attr:`Manifest.job` that it is made for.
        failures: images that belong into the shard and could not be read.
        space: of the vectors, where it is not the manifest's.

    Raises:
        DataError: a vector is not finite or not of unit length, or a key comes twice.
    """
    pa, _ = arrow()
    dim = int(shard.vectors.shape[1])
    check_vectors(shard.vectors, dim, what="the vectors of a shard")
    flat = pa.array(np.ascontiguousarray(shard.vectors).ravel(), type=pa.float32())
    digests = pa.py_buffer(np.ascontiguousarray(shard.contents).tobytes())
    columns: dict[str, Any] = {
        "id": pa.array(shard.ids),
        "key": list(shard.keys),
        "vector": pa.FixedSizeListArray.from_arrays(flat, dim),
        **shard.attributes,
        "content": pa.FixedSizeBinaryArray.from_buffers(pa.binary(DIGEST), len(shard.keys), [None, digests]),
    }
    content = shard.content
    missed = [[failure.key, failure.reason] for failure in failures]
    path = folder / shard_name(number)
    write_table(path, columns, {FOOTER: json.dumps({"job": job, "content": content, "failures": missed})})
    return ShardEntry(file=path.name, rows=len(shard.keys), content=content, sha256=sha256_of(path), space=space)


def recover_shard(folder: Path, number: int, job: str, dim: int) -> tuple[ShardEntry, tuple[Failure, ...]] | None:
    """Look whether a job that was killed wrote a shard already.

    Returns:
        Its entry and the images that could not be read; None where there is no such shard.

    Raises:
        DamagedArtifact: it is another job's, or was changed after it was written.
    """
    path = folder / shard_name(number)
    if not path.is_file():
        return None
    try:
        footer = json.loads(read_metadata(path, FOOTER) or "{}")
        made_for, content = footer["job"], footer["content"]
        failures = tuple(Failure(key, reason) for key, reason in footer["failures"])
    except (ValueError, KeyError, TypeError):
        raise DamagedArtifact(f"'{path}' is damaged", observed="a footer that cannot be read") from None
    if made_for != job:
        raise DamagedArtifact(f"'{path}' is a shard of another job")
    shard = _read(path, dim)
    _check_content(path, shard, content)
    return ShardEntry(file=path.name, rows=len(shard.keys), content=content, sha256=sha256_of(path)), failures


def read_shard(folder: Path, entry: ShardEntry, dim: int) -> Shard:
    """Read a shard back.

    Raises:
        DamagedArtifact: its checksum, columns, rows or content are not those of the manifest.
    """
    verify_checksums(folder, {entry.file: entry.sha256})
    shard = _read(folder / entry.file, dim)
    _check_content(folder / entry.file, shard, entry.content)
    return shard


def _read(path: Path, dim: int, columns: Sequence[str] | None = None) -> Shard:
    kinds = {
        "id": "int64", "key": "string", "vector": f"fixed_size_list<element: float>[{dim}]",
        "content": f"fixed_size_binary[{DIGEST}]",
    }  # fmt: skip
    table = read_table(path, kinds, columns).combine_chunks()
    if "vector" in table.column_names:
        flat = table["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = flat.astype(np.float32).reshape(-1, dim)
    else:
        vectors = np.empty((table.num_rows, 0), dtype=np.float32)
    digests = table["content"].combine_chunks()
    # An array of Arrow may be a window into a longer buffer.
    start, stop = digests.offset * DIGEST, (digests.offset + len(digests)) * DIGEST
    contents = np.frombuffer(digests.buffers()[1] or b"", dtype=np.uint8)[start:stop].reshape(-1, DIGEST)
    attributes = {name: table[name].to_pylist() for name in ATTRIBUTES if name in table.column_names}
    shard = Shard(tuple(table["key"].to_pylist()), vectors, attributes, contents)
    if table["id"].to_numpy().tolist() != shard.ids.tolist():
        raise DamagedArtifact(f"'{path}' is damaged", observed="ids that are not those of the keys")
    return shard


def _check_content(path: Path, shard: Shard, expected: str) -> None:
    if (found := shard.content) != expected:
        raise DamagedArtifact(
            f"'{path}' is not the shard of the manifest",
            observed=f"content {found[:12]}…",
            expected=f"content {expected[:12]}…",
            hint="Build the gallery again.",
        )


@dataclass(frozen=True)
class ShardSet:
    """The shards of one generation of a gallery: iterate for the rows that count, shard by shard, each verified.

    Attributes:
        folder: of the shards.
        manifest: of the generation.
        dead: the rows of each shard that no longer count.
    """

    folder: Path
    manifest: Manifest
    dead: dict[str, Rows] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Shard]:
        for entry in self.manifest.shards:
            if len(rows := self.live(entry)):
                shard = read_shard(self.folder, entry, self.manifest.dim)
                yield shard.take(rows) if entry.file in self.dead else shard

    def records(self) -> Iterator[tuple[Ids, Vectors, Columns]]:
        """The rows that count, as a store takes them: ids, vectors, and by column key, attributes and space."""
        for entry in self.manifest.shards:
            for shard in self.of([entry]):
                space = [self.manifest.space_of(entry)] * len(shard.keys)
                yield shard.ids, shard.vectors, {"key": shard.keys, **shard.attributes, SPACE: space}

    def live(self, entry: ShardEntry) -> Rows:
        """The rows of a shard that count."""
        return np.setdiff1d(np.arange(entry.rows), self.dead.get(entry.file, np.empty(0, np.int64)))

    @property
    def spaces(self) -> dict[str, int]:
        """How many rows count, by the space of their vectors."""
        counts: Counter[str] = Counter()
        for entry in self.manifest.shards:
            counts[self.manifest.space_of(entry)] += len(self.live(entry))
        return {space: count for space, count in counts.items() if count}

    def of(self, entries: Iterable[ShardEntry]) -> ShardSet:
        """Some of the shards, in their order."""
        return replace(self, manifest=self.manifest.model_copy(update={"shards": tuple(entries)}))

    def described(self) -> Iterator[tuple[ShardEntry, Rows, Shard]]:
        """Each shard's entry, its rows that count, and these without their vectors: far less to read."""
        for entry in self.manifest.shards:
            shard = _read(self.folder / entry.file, self.manifest.dim, ("id", "key", *ATTRIBUTES, "content"))
            rows = self.live(entry)
            yield entry, rows, shard.take(rows) if entry.file in self.dead else shard


def open_shards(folder: Path, generation: int = 1) -> ShardSet:
    """The shards of a generation, in the folder of embeddings.

    Raises:
        UsageError: ``folder`` holds no embeddings.
        DamagedArtifact: the manifest or the tombstones cannot be read.
    """
    manifest = read_manifest(folder, generation)
    return ShardSet(folder, manifest, read_tombstones(folder, generation) if manifest.dead else {})
