"""``manifest.json``: what a job set out to embed, and the shards that hold it.

It is written twice. First with the plan and no shards, before the first image is read: a job that is killed finds
there what it was about. At the end with every shard of the gallery.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hetsearch.bundle import CARD as BUNDLE
from hetsearch.bundle import ONNX, WEIGHTS
from hetsearch.errors import DamagedArtifact
from hetsearch.files import read_json, write_json
from hetsearch.runtime.encoder import Encoder

SCHEMA = 2
MANIFEST = "manifest.json"


class Plan(BaseModel):
    """What one job embeds, known before the first image is read. The shards follow from it alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listing: str  # hash over what is to be embedded, in order
    rows: int  # images in it
    shard_rows: int  # images that one shard covers; those that cannot be read leave it smaller
    batch_size: int  # images in one call of the encoder: the last bits of a vector depend on it
    weights: str  # of the encoder, see weights_of
    first: int = 0  # number of the first shard

    @property
    def shards(self) -> int:
        """How many shards the plan has."""
        return -(-self.rows // self.shard_rows)

    def covered(self, number: int) -> range:
        """The positions in the listing that the shard called ``number`` covers."""
        start = (number - self.first) * self.shard_rows
        return range(start, min(start + self.shard_rows, self.rows))

    def batches(self, rows: range) -> list[range]:
        """Rows of one shard as the encoder takes them, stretch by stretch."""
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]


class ShardEntry(BaseModel):
    """One shard in the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    rows: int
    content: str  # over ids, vectors and what is known of the images, whatever Parquet makes of them
    sha256: str
    space: str | None = None  # of its vectors, where that is not the manifest's: a gallery that is upgraded has such


class Manifest(BaseModel):
    """What ``manifest.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str
    encoder: str
    dim: int
    images: str  # name of the set of images that the gallery holds
    plan: Plan  # of the last job that embedded something
    shards: tuple[ShardEntry, ...] = ()
    failures: int = 0
    dead: int = 0  # rows of the shards that no longer count
    files: dict[str, str] = {}  # SHA-256 of what is no shard

    @property
    def rows(self) -> int:
        """Rows that count."""
        return sum(entry.rows for entry in self.shards) - self.dead

    @property
    def job(self) -> str:
        """What a shard must have been made for to be a shard of this plan. How the source is spelled is no part."""
        parts = [self.space, self.dim, self.plan.model_dump(mode="json")]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def space_of(self, entry: ShardEntry) -> str:
        """The space that the vectors of a shard lie in."""
        return entry.space or self.space

    def seen_from(self, space: str) -> Manifest:
        """The same shards in the manifest of another space: each keeps its own."""
        spaces = [None if (own := self.space_of(entry)) == space else own for entry in self.shards]
        shards = tuple(
            entry.model_copy(update={"space": own}) for entry, own in zip(self.shards, spaces, strict=True)
        )
        return self.model_copy(update={"space": space, "shards": shards})


def generation_name(name: str, generation: int) -> str:
    """What a file is called in a generation of a gallery.

    >>> generation_name("items.parquet", 1), generation_name("items.parquet", 2)
    ('items.parquet', 'items-00002.parquet')
    """
    stem, dot, suffix = name.partition(".")
    return name if generation == 1 else f"{stem}-{generation:05d}{dot}{suffix}"


def weights_of(encoder: Encoder) -> str:
    """The checksum of an encoder's network file where its bundle is known, else its name.

    A job that is resumed with another network would mix the vectors of both.
    """
    folder = getattr(encoder, "folder", None)
    if folder is not None and (Path(folder) / BUNDLE).is_file():
        files = read_json(Path(folder) / BUNDLE, what="an encoder bundle").get("files", {})
        if found := files.get(ONNX) or files.get(WEIGHTS):
            return str(found)
    return encoder.name


def write_manifest(folder: Path, manifest: Manifest, generation: int = 1) -> None:
    """Write the manifest of a generation, whole or not at all."""
    name = generation_name(MANIFEST, generation)
    write_json(folder / name, {"schema": SCHEMA, **manifest.model_dump(mode="json")})


def read_manifest(folder: Path, generation: int = 1) -> Manifest:
    """Read the manifest of a generation; the shards are verified as they are read.

    Raises:
        UsageError: ``folder`` holds no embeddings.
        DamagedArtifact: it is not whole, or of another schema.
    """
    path = folder / generation_name(MANIFEST, generation)
    document = read_json(path, what="a folder of embeddings", schema=SCHEMA)
    del document["schema"]
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        observed = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise DamagedArtifact(f"'{path}' is damaged", observed=observed) from None
