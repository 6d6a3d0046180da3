"""What an update must do: a new listing against what a gallery holds.

An image is known by its key; that its picture is another is known by the hash of its file, and a picture that is there
under another key lends its vector. Held as arrays, about 60 bytes an item: no Python objects an item.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hetsearch.data.images import ImageSet
from hetsearch.data.reading import DIGEST, Contents
from hetsearch.gallery.embedding.decode import iter_contents
from hetsearch.gallery.embedding.embed import describe
from hetsearch.gallery.embedding.shards import ATTRIBUTES, Rows, Shard, ShardSet
from hetsearch.gallery.ids import Ids, stable_ids

STRETCH = 256  # files that are hashed by a worker at a time


@dataclass(frozen=True)
class Known:
    """What a gallery holds, sorted by id.

    Attributes:
        ids: ``(n,)``.
        contents: ``(n, 32)``, SHA-256 of each image's file.
        facts: ``(n,)``, a hash of label, group, domain and path, good within one process.
        shards: ``(n,)``, the place of its shard in the manifest.
        rows: ``(n,)``, its row there.
    """

    ids: Ids
    contents: Contents
    facts: Rows
    shards: Rows
    rows: Rows

    @classmethod
    def read(cls, shards: ShardSet) -> Known:
        """Read everything but the vectors."""
        blocks = [
            (shard.ids, shard.contents, facts_of(shard), np.full(len(rows), place), rows)
            for place, (_, rows, shard) in enumerate(shards.described())
        ]
        empty = [np.empty(0, np.int64) for _ in range(5)]
        empty[1] = np.empty((0, DIGEST), np.uint8)
        ids, contents, facts, places, rows = (
            np.concatenate([first, *(block[column] for block in blocks)]) for column, first in enumerate(empty)
        )
        order = np.argsort(ids)
        return cls(ids[order], contents[order], facts[order], places[order], rows[order])

    def find(self, ids: Ids) -> Rows:
        """The place of each id, -1 where it is not there."""
        return _find(self.ids, ids)

    def find_contents(self, contents: Contents) -> Rows:
        """The place of one item with each of these pictures, always the same one; -1 where there is none."""
        prefixes = _prefixes(self.contents)
        order = np.argsort(prefixes, kind="stable")
        places = _find(prefixes[order], _prefixes(contents))
        found = np.where(places < 0, -1, order[places]) if len(order) else places
        # Two pictures that share 64 bits of SHA-256 are a freak; the second is then embedded again.
        equal = (self.contents[found] == contents).all(axis=1) if len(order) else places >= 0
        return np.where((found >= 0) & equal, found, -1)


@dataclass(frozen=True)
class Listing:
    """What is listed now, in the order of the listing.

    Attributes:
        ids: ``(n,)``.
        contents: ``(n, 32)``.
        readable: ``(n,)``, whether the file could be read at all.
        facts: ``(n,)``, see :class:`Known`.
    """

    ids: Ids
    contents: Contents
    readable: NDArray[np.bool_]
    facts: Rows

    @classmethod
    def scan(cls, images: ImageSet, workers: int, *, progress: bool = False) -> Listing:
        """Hash the file of every image; none is decoded. ``progress`` draws a bar on stderr."""
        count = len(images)
        contents = np.empty((count, DIGEST), np.uint8)
        readable = np.empty(count, dtype=np.bool_)
        facts = np.empty(count, dtype=np.int64)
        stretches = (range(start, min(start + STRETCH, count)) for start in range(0, count, STRETCH))
        with tqdm(total=count, desc="compare", unit="img", disable=None if progress else True) as bar:
            for rows, found, known in iter_contents(images, stretches, workers):
                span = slice(rows.start, rows.stop)
                contents[span], readable[span] = found, known
                facts[span] = facts_of(describe(images, list(rows), np.empty((len(rows), 0), np.float32), found))
                bar.update(len(rows))
        return cls(stable_ids(images.keys), contents, readable, facts)

    def hash_of(self, rows: Rows) -> str:
        """SHA-256 over ids and pictures of some of the images, in order."""
        return hashlib.sha256(self.ids[rows].tobytes() + self.contents[rows].tobytes()).hexdigest()


@dataclass(frozen=True)
class Diff:
    """What an update must do. Positions are of the listing, places of :class:`Known`.

    Attributes:
        embed: positions of the images to embed.
        moved: positions of the images that take the vector of an item with the same picture.
        donors: the places of these items.
        described: positions of the images of which only label, group, domain or path is another.
        owners: their own places.
        gone: places of the items that are listed no longer.
        changed: how many images have another picture under the same key.
        renamed: how many of the gone pictures are there under a new key.
        new: how many keys are new, but for the renamed.
        unchanged: how many images stay as they are.
    """

    embed: Rows
    moved: Rows
    donors: Rows
    described: Rows
    owners: Rows
    gone: Rows
    changed: int
    renamed: int
    new: int
    unchanged: int

    @classmethod
    def between(cls, known: Known, listing: Listing, *, remove: bool) -> Diff:
        """Compare.

        Args:
            known: what the gallery holds.
            listing: what is listed now.
            remove: whether an item that is not listed goes.
        """
        places = known.find(listing.ids)
        there = places >= 0
        same = there & listing.readable
        same[same] = (known.contents[places[same]] == listing.contents[same]).all(axis=1)
        described = same.copy()
        described[same] = known.facts[places[same]] != listing.facts[same]
        donors = np.full(len(places), -1)
        rest = ~same & listing.readable
        donors[rest] = known.find_contents(listing.contents[rest])
        moved = np.flatnonzero(donors >= 0)
        gone = np.flatnonzero(~np.isin(known.ids, listing.ids)) if remove else np.empty(0, np.int64)
        renamed = _renamed(known, donors[~there & (donors >= 0)], gone)
        moved = moved[np.lexsort((known.rows[donors[moved]], known.shards[donors[moved]]))]
        owned = np.flatnonzero(described)
        owned = owned[np.lexsort((known.rows[places[owned]], known.shards[places[owned]]))]
        return cls(
            embed=np.flatnonzero(~same & (donors < 0)),
            moved=moved,
            donors=donors[moved],
            described=owned,
            owners=places[owned],
            gone=gone,
            changed=int((there & ~same).sum()),
            renamed=renamed,
            new=int((~there).sum()) - renamed,
            unchanged=int(same.sum() - described.sum()),
        )


def facts_of(shard: Shard) -> Rows:
    """A hash of what is known of each row beside its picture."""
    columns = [shard.attributes.get(name, [None] * len(shard.keys)) for name in ATTRIBUTES]
    return np.fromiter(map(hash, zip(*columns, strict=True)), dtype=np.int64, count=len(shard.keys))


def _renamed(known: Known, donors: Rows, gone: Rows) -> int:
    # find_contents gives the same place for the same picture, so places stand for pictures here.
    lost = Counter(known.find_contents(known.contents[gone]).tolist())
    return (lost & Counter(donors.tolist())).total()


def _find(held: NDArray[np.generic], wanted: NDArray[np.generic]) -> Rows:
    """The first place of each wanted value among the held ones, which are sorted; -1 where it is not there."""
    if not len(held):
        return np.full(len(wanted), -1)
    places = np.minimum(np.searchsorted(held, wanted), len(held) - 1)
    return np.where(held[places] == wanted, places, -1)


def _prefixes(contents: Contents) -> NDArray[np.uint64]:
    return np.ascontiguousarray(contents[:, :8]).view(np.uint64).reshape(-1)
