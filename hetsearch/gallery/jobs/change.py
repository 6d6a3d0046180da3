"""From one generation of a gallery to the next: what comes, what goes, and the switch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.data.reading import Contents
from hetsearch.errors import UsageError
from hetsearch.files import verify_checksums
from hetsearch.gallery.card import EMBEDDINGS, GalleryCard, read_card
from hetsearch.gallery.embedding.embed import Say, describe, silent
from hetsearch.gallery.embedding.shards import Rows, Shard, ShardSet, open_shards, read_shard, write_shard
from hetsearch.gallery.ids import Ids, hash_keys
from hetsearch.gallery.jobs.diff import Known
from hetsearch.gallery.jobs.generation import NO_IDS, IndexChange, settle, write_generation
from hetsearch.gallery.manifest import MANIFEST, Manifest, ShardEntry, generation_name, read_manifest
from hetsearch.gallery.stores.store import StorePlan, store_backend, store_kind
from hetsearch.space import Vectors


@dataclass(frozen=True)
class Live:
    """A gallery that a job holds.

    Attributes:
        out: its folder.
        card: of the present generation.
        shards: of the present generation.
        known: what they hold.
    """

    out: Path
    card: GalleryCard
    shards: ShardSet
    known: Known

    @classmethod
    def read(cls, out: Path) -> Live:
        """Read a gallery, but for its vectors.

        Raises:
            UsageError: there is none.
            DamagedArtifact: a file of it was changed; index and vectors are looked at when they are needed.
        """
        card = read_card(out)
        shards = open_shards(out / EMBEDDINGS, card.generation)
        later = {card.index, *(f"{EMBEDDINGS}/{entry.file}" for entry in shards.manifest.shards)}
        verify_checksums(out, {name: sha for name, sha in card.files.items() if name not in later})
        return cls(out, card, shards, Known.read(shards))

    @property
    def next(self) -> int:
        """Number of the generation that the job makes."""
        return self.card.generation + 1

    @property
    def first(self) -> int:
        """Number of the first shard that the job may write."""
        entries = self.shards.manifest.shards
        return 1 + max(int(entry.file.removeprefix("shard-").partition(".")[0]) for entry in entries)

    @property
    def pending(self) -> Path:
        """Where an unfinished job left its plan."""
        return self.shards.folder / generation_name(MANIFEST, self.next)

    def resume(self, head: Manifest, say: Say = silent) -> None:
        """Keep what an unfinished job of the same plan left, and drop what another one left."""
        if self.pending.exists() and read_manifest(self.shards.folder, self.next).job == head.job:
            settle(self.out)
        else:
            self.drop_pending(say)

    def drop_pending(self, say: Say = silent) -> None:
        """Forget an unfinished job, and remove all that the present generation does not need."""
        if self.pending.exists():
            say("what an unfinished job left is dropped: it was another one")
            self.pending.unlink()
        settle(self.out)


@dataclass(frozen=True)
class Change:
    """What the next generation differs in.

    Attributes:
        head: its manifest, but for shards, failures and tombstones.
        added: shards whose vectors are new to the index.
        described: shards of vectors that the index has already, under the same ids.
        gone: ids that go.
        failures: images that could not be read.
        listing: hash over the listing; None for that of the items.
        rebuild: make the index anew.
        revived: rows by shard that count again; their ids are among those that go.
    """

    head: Manifest
    added: tuple[ShardEntry, ...] = ()
    described: tuple[ShardEntry, ...] = ()
    gone: Ids = field(default_factory=lambda: NO_IDS)
    failures: tuple[Failure, ...] = ()
    listing: str | None = None
    rebuild: bool = False
    revived: dict[str, Rows] = field(default_factory=dict)


def plan_next(live: Live, items: int, *, rebuild: bool) -> StorePlan:
    """The store of the next generation, with so many items; one that is changed in place needs no training."""
    kept = store_kind(live.card.store).alterable and not rebuild
    return store_backend(live.out, live.card).plan(live.card.dim, live.card.factory, None if kept else items)


def require_removable(live: Live, lost: int) -> None:
    """Refuse, before anything is done, what the index cannot do.

    Args:
        live: the gallery.
        lost: vectors that are to be removed or replaced.

    Raises:
        UsageError: there are such vectors, and this kind of index cannot remove any.
    """
    card = live.card
    if lost and not plan_next(live, card.count, rebuild=False).removable:
        raise UsageError(
            f"an index of '{card.factory}' cannot remove vectors",
            observed=f"{lost:,} to remove or replace",
            hint="With --rebuild the index is made anew from the stored vectors; no image is embedded again for that.",
        )


def commit(live: Live, change: Change) -> GalleryCard:
    """Write the next generation and switch to it.

    Raises:
        UsageError: nothing would be left.
    """
    fresh = np.intersect1d(_ids(live, change.added), live.known.ids)
    removed = np.union1d(change.gone, fresh)
    dead = _dead(live, np.union1d(removed, _ids(live, change.described)))
    dead |= {file: np.setdiff1d(dead[file], rows) for file, rows in change.revived.items()}
    present = live.shards.manifest.seen_from(change.head.space).shards
    # Until an upgrade is settled, the way back needs the vectors that it replaced.
    kept = tuple(
        entry
        for entry in present
        if len(dead.get(entry.file, ())) < entry.rows or (live.card.former and entry.space)
    )
    entries = (*kept, *(entry for entry in (*change.added, *change.described) if entry.rows))
    rows = sum(entry.rows for entry in entries) - sum(len(dead.get(entry.file, ())) for entry in kept)
    if not rows:
        raise UsageError(
            f"nothing would be left in the gallery '{live.out}'",
            expected="at least one item",
            hint="Remove the folder instead.",
        )
    dead = {entry.file: dead[entry.file] for entry in kept if len(dead.get(entry.file, ()))}
    shards = ShardSet(live.shards.folder, change.head.model_copy(update={"shards": entries}), dead)
    listing = change.listing or _listing(shards, rows)
    card = live.card.model_copy(
        update={
            "generation": live.next, "listing": listing,
            "images": change.head.images, "encoder": change.head.encoder,
        }
    )  # fmt: skip
    # What is known of an item changes with its description, and with the space that is in front.
    described = bool(change.described) or change.head.space != live.shards.manifest.space
    index = None if change.rebuild else IndexChange(live.card, removed, _coming(shards, change), described)
    return write_generation(live.out, card, shards.manifest, dead=dead, failures=change.failures, change=index)


def copy_rows(live: Live, images: ImageSet, rows: Rows, places: Rows, first: int) -> tuple[ShardEntry, ...]:
    """Write shards of images whose vectors are there already.

    Args:
        live: the gallery.
        images: the listing that describes the images.
        rows: positions in it.
        places: for each, the item of ``live.known`` that lends its vector; best in the order of the shards.
        first: number of the first shard.
    """
    entries = []
    read = _Reader(live)
    for number, (block, space) in enumerate(_blocks(live, places), start=first):
        contents: Contents = live.known.contents[places[block]]
        shard = describe(images, rows[block].tolist(), read.take(places[block]), contents)
        entries.append(write_shard(live.shards.folder, number, shard, space=space))
    return tuple(entries)


def _blocks(live: Live, places: Rows) -> Iterator[tuple[slice, str | None]]:
    """Stretches of places that fill at most a shard each, and lie in one space: that of their shard's entry."""
    size = live.shards.manifest.plan.shard_rows
    spaces = [live.shards.manifest.shards[number].space for number in live.known.shards[places].tolist()]
    start = 0
    for space, run in itertools.groupby(spaces):
        stop = start + len(list(run))
        for begin in range(start, stop, size):
            yield slice(begin, min(begin + size, stop)), space
        start = stop


class _Reader:
    """Takes vectors out of shards, and reads each shard once where they come in its order."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._open: tuple[int, Shard] | None = None

    def take(self, places: Rows) -> Vectors:
        """The vectors at these places, ``(n, dim)``."""
        return np.concatenate(list(self._taken(places)))

    def _taken(self, places: Rows) -> Iterator[Vectors]:
        known, shards = self._live.known, self._live.shards
        numbers = known.shards[places]
        cuts = np.flatnonzero(np.diff(numbers)) + 1
        for span in np.split(np.arange(len(places)), cuts):
            number = int(numbers[span[0]])
            if self._open is None or self._open[0] != number:
                self._open = number, read_shard(shards.folder, shards.manifest.shards[number], shards.manifest.dim)
            yield self._open[1].vectors[known.rows[places[span]]]


def _coming(shards: ShardSet, change: Change) -> ShardSet:
    """The rows whose vectors are new to the index: of shards that were added, and those that count again."""
    added = {entry.file for entry in change.added}
    entries = [entry for entry in shards.manifest.shards if entry.file in added or entry.file in change.revived]
    dead = {
        entry.file: np.setdiff1d(np.arange(entry.rows), change.revived[entry.file])
        for entry in entries
        if entry.file in change.revived
    }
    return replace(shards.of(entries), dead=dead)


def _ids(live: Live, entries: tuple[ShardEntry, ...]) -> Ids:
    some = replace(live.shards.of(entries), dead={})
    return np.concatenate([NO_IDS, *(shard.ids for _, _, shard in some.described())])


def _dead(live: Live, ids: Ids) -> dict[str, Rows]:
    """The rows of the present shards that no longer count: those of before, and those of these ids."""
    known = live.known
    hit = np.isin(known.ids, ids)
    dead = dict(live.shards.dead)
    for place in np.unique(known.shards[hit]).tolist():
        file = live.shards.manifest.shards[place].file
        dead[file] = np.union1d(dead.get(file, np.empty(0, np.int64)), known.rows[hit & (known.shards == place)])
    return dead


def _listing(shards: ShardSet, count: int) -> str:
    return hash_keys(count, (key for _, _, shard in shards.described() for key in shard.keys))
