"""From shards to a generation of a gallery: failures, manifest, index, items, and last ``gallery.json``.

Every file of a new generation has a name of its own, so that those of the present one stay as they are until
``gallery.json`` is renamed. What is not named there any more is removed after that.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hetsearch.data.pixels import Failure
from hetsearch.errors import DamagedArtifact
from hetsearch.files import sha256_of, verify_checksums
from hetsearch.gallery.card import CARD, EMBEDDINGS, SPACE, GalleryCard, read_card, write_card
from hetsearch.gallery.choosing.choice import Choice
from hetsearch.gallery.choosing.confirm import confirm
from hetsearch.gallery.embedding.shards import ATTRIBUTES, Rows, ShardSet, shard_name
from hetsearch.gallery.folder import sweep
from hetsearch.gallery.ids import Ids
from hetsearch.gallery.manifest import MANIFEST, Manifest, generation_name, read_manifest, write_manifest
from hetsearch.gallery.omitted import write_failures, write_tombstones
from hetsearch.gallery.stores.faiss_store import FaissStore
from hetsearch.gallery.stores.store import LiveStore, store_backend, store_kind
from hetsearch.gallery.tables import arrow, read_names, table_writer
from hetsearch.space import Vectors

LOCK = "LOCK"  # of whoever has a database open; it may be written to by a reader
PACKAGES = ("faiss-cpu", "pyarrow", "numpy", "onnxruntime")

NO_IDS: Ids = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class IndexChange:
    """What an index that is there must lose and take to become that of the next generation.

    Attributes:
        present: the card of the present generation.
        removed: ids that go.
        added: the vectors that come.
        described: whether what is known of an item, or of the gallery, is another.
    """

    present: GalleryCard
    removed: Ids
    added: ShardSet
    described: bool = False

    @property
    def nothing(self) -> bool:
        """Whether the index can stay as it is."""
        return not len(self.removed) and not self.added.manifest.shards


def write_generation(
    out: Path,
    card: GalleryCard,
    manifest: Manifest,
    *,
    dead: dict[str, Rows] | None = None,
    failures: Sequence[Failure] = (),
    change: IndexChange | None = None,
) -> GalleryCard:
    """Write everything but the shards, switch to it, and remove what is no longer needed.

    Args:
        out: the folder of the gallery.
        card: of the new generation; count, index, versions and checksums are filled in.
        manifest: with every shard of the new generation.
        dead: the rows of each shard that do not count.
        failures: images that could not be read.
        change: of the present index; None makes a new one from all shards.

    Returns:
        The card as it was written.
    """
    folder, number = out / EMBEDDINGS, card.generation
    dead = dead or {}
    names = [write_failures(folder, failures, number)]
    if dead:
        names.append(write_tombstones(folder, dead, number))
    manifest = manifest.model_copy(
        update={
            "failures": len(failures),
            "dead": sum(map(len, dead.values())),
            "files": {name: sha256_of(folder / name) for name in names},
        }
    )
    write_manifest(folder, manifest, number)
    shards = ShardSet(folder, manifest, dead)
    counts = {
        "count": manifest.rows, "spaces": require_accepted(shards, card), "failures": len(failures),
        "versions": _versions(),
    }  # fmt: skip
    card = card.model_copy(update=counts)
    index, choice = _write_index(out, card, shards, change)
    if choice is not None:
        card = card.model_copy(update={"choice": choice, "factory": choice.factory})
    write_items(out / card.items, shards, bool(card.spaces))
    outer = [*_stored(out, index), card.items]
    card = card.model_copy(
        update={
            "index": index,
            "files": _checksums(out, outer, manifest, number),
            "sizes": {name: (out / name).stat().st_size for name in outer},
        }
    )
    write_card(out, card)
    settle(out)
    return card


def _stored(out: Path, index: str) -> list[str]:
    """The files in the gallery's folder that hold its store; a server's collection has none there."""
    place = out / _place(index)
    within = [path for path in place.rglob("*") if path.is_file() and path.name != LOCK]
    return [path.relative_to(out).as_posix() for path in ([place] if place.is_file() else sorted(within))]


def _place(name: str) -> str:
    """The entry of the gallery's folder that holds a file or a store: of a database, its own folder."""
    return name.partition("/")[0]


def settle(out: Path) -> None:
    """Remove what jobs left that the present generation does not need, and lead readers of a database to it.

    Raises:
        HetsearchError: the gallery's database does not answer.
    """
    sweep(out, needed(out))
    if (out / CARD).exists():
        card = read_card(out)
        store_backend(out, card).settle(card)


def needed(out: Path) -> frozenset[str]:
    """The files that a gallery, or the unfinished job in its folder, needs: by relative name.

    Raises:
        UsageError: there is neither.
        DamagedArtifact: what says so cannot be read.
    """
    kept: set[str] = set()
    number = 0
    if (out / CARD).exists():
        card = read_card(out)
        number = card.generation
        kept |= {CARD, *card.files, _place(card.index)}
    pending = out / EMBEDDINGS / generation_name(MANIFEST, number + 1)
    if pending.exists():
        plan = read_manifest(pending.parent, number + 1).plan
        shards = map(shard_name, range(plan.first, plan.first + plan.shards))
        kept |= {f"{EMBEDDINGS}/{name}" for name in (pending.name, *shards)}
    return frozenset(kept)


def _write_index(
    out: Path, card: GalleryCard, shards: ShardSet, change: IndexChange | None
) -> tuple[str, Choice | None]:
    """Write the store, or keep the one there is; its address comes back, and how it was chosen, where it was."""
    kind = store_kind(card.store)
    if change is not None:
        # It gets a new checksum, so it must have the old one.
        place = _place(change.present.index)
        verify_checksums(out, {name: sha for name, sha in change.present.files.items() if _place(name) == place})
        if change.nothing and (kind.alterable or not change.described):
            return change.present.index, card.choice
    backend = store_backend(out, card)
    if change is not None and kind.alterable:
        return backend.write(card, change.present, lambda store: _alter(store, change)), card.choice
    choice = card.choice

    def fill(store: LiveStore) -> None:
        nonlocal choice
        _fill(store, shards)
        if choice is not None and choice.estimated:
            assert isinstance(store, FaissStore)  # only among these there is a choice
            choice = confirm(store, shards, choice)

    return backend.write(card, None, fill), choice


def _fill(store: LiveStore, shards: ShardSet) -> None:
    """Train the store on an even sample, and add every shard."""

    def sample(most: int) -> Vectors:
        step = max(1, -(-shards.manifest.rows // most))
        count = sum(-(-len(shards.live(entry)) // step) for entry in shards.manifest.shards)
        vectors = np.empty((count, shards.manifest.dim), dtype=np.float32)
        filled = 0
        for shard in shards:
            some = shard.vectors[::step]
            vectors[filled : filled + len(some)] = some
            filled += len(some)
        return vectors

    store.train(sample)
    for record in shards.records():
        store.add(*record)


def _alter(store: LiveStore, change: IndexChange) -> None:
    if len(change.removed):
        store.remove(change.removed)
    for record in change.added.records():
        store.add(*record)


def require_accepted(shards: ShardSet, card: GalleryCard) -> dict[str, int]:
    """Refuse vectors of a space that the gallery does not accept.

    Returns:
        What the card says in ``spaces``: items by space; empty where all are of the gallery's own.

    Raises:
        DamagedArtifact: there are such vectors.
    """
    counts = shards.spaces
    if unknown := sorted(counts.keys() - {card.space, *card.spaces}):
        raise DamagedArtifact(
            f"shards of '{shards.folder}' are of a space that the gallery does not accept",
            observed=unknown[0],
            expected=" or ".join([card.space, *(space for space in card.spaces if space != card.space)]),
            hint="Build the gallery again.",
        )
    return {} if counts.keys() <= {card.space} else {card.space: 0, **counts}


def write_items(path: Path, shards: ShardSet, mixed: bool = False) -> None:
    """Write the table of items, a shard at a time; with the space of each where vectors of several are ``mixed``."""
    pa, _ = arrow()
    present = {name for entry in shards.manifest.shards for name in read_names(shards.folder / entry.file)}
    columns = [name for name in ATTRIBUTES if name in present]
    text = pa.string()
    named = [*columns, SPACE] if mixed else columns
    schema = pa.schema([("key", text), ("id", pa.int64()), *((name, text) for name in named)])
    with table_writer(path, schema) as writer:
        for entry, _, shard in shards.described():
            cells = [shard.attributes.get(name, [None] * len(shard.keys)) for name in columns]
            if mixed:
                cells.append([shards.manifest.space_of(entry)] * len(shard.keys))
            arrays = [pa.array(list(shard.keys), text), pa.array(shard.ids), *(pa.array(cell, text) for cell in cells)]
            writer.write_table(pa.table(arrays, schema=schema))


def _checksums(out: Path, files: Sequence[str], manifest: Manifest, number: int) -> dict[str, str]:
    """By relative name. Those of the shards were taken when they were written; they are not read again."""
    shards = {entry.file: entry.sha256 for entry in manifest.shards}
    name = generation_name(MANIFEST, number)
    inner = {**shards, **manifest.files, name: sha256_of(out / EMBEDDINGS / name)}
    outer = {name: sha256_of(out / name) for name in files}
    return dict(sorted({**{f"{EMBEDDINGS}/{name}": sha for name, sha in inner.items()}, **outer}.items()))


def _versions() -> dict[str, str]:
    versions: dict[str, Any] = {}
    for name in PACKAGES:
        # FAISS and ONNX Runtime are also distributed under other names; theirs is then not recorded.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
