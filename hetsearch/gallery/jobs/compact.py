"""Write a gallery anew without the rows that updates and deletions left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from hetsearch.errors import UsageError
from hetsearch.gallery.card import GalleryCard, read_card
from hetsearch.gallery.embedding.embed import Say, silent
from hetsearch.gallery.embedding.shards import Shard, write_shard
from hetsearch.gallery.folder import exclusive
from hetsearch.gallery.jobs.change import Change, Live, commit
from hetsearch.gallery.jobs.report import CompactReport, folder_bytes
from hetsearch.gallery.manifest import ShardEntry
from hetsearch.gallery.omitted import read_failures


def compact_gallery(gallery: str | Path, *, say: Say = silent) -> CompactReport:
    """Write the rows that count into full shards, and make the index anew from them. Nothing is embedded.

    Args:
        gallery: its folder.
        say: takes a line for the person.

    Raises:
        UsageError: no gallery, an upgrade that is not settled, or another job at work.
        DamagedArtifact: a file of the gallery was changed.
    """
    begin = time.perf_counter()
    out = Path(gallery)
    read_card(out)
    with exclusive(out):
        live = Live.read(out)
        _require_settled(live.card, out)
        live.drop_pending(say)
        manifest, before = live.shards.manifest, folder_bytes(out)
        full = sum(-(-rows // manifest.plan.shard_rows) for rows in live.shards.spaces.values())
        nothing = not manifest.dead and len(manifest.shards) <= full
        card = live.card if nothing else _compacted(live)
    return CompactReport(
        gallery=out, space=card.space, generation=card.generation, rows=card.count, dropped=manifest.dead,
        shards_before=len(manifest.shards), nothing=nothing, seconds=time.perf_counter() - begin,
        bytes_before=before, bytes=folder_bytes(out),
    )  # fmt: skip


def _compacted(live: Live) -> GalleryCard:
    folder, size = live.shards.folder, live.shards.manifest.plan.shard_rows
    entries: list[ShardEntry] = [
        write_shard(folder, number, shard, space=space)
        for number, (space, shard) in enumerate(_full(live, size), start=live.first)
    ]
    head = live.shards.manifest.model_copy(update={"shards": (), "dead": 0, "files": {}})
    failures = read_failures(folder, live.card.generation)
    return commit(live, Change(head, tuple(entries), failures=failures, listing=live.card.listing, rebuild=True))


def _require_settled(card: GalleryCard, out: Path) -> None:
    if card.former is not None:
        raise UsageError(
            f"the upgrade of '{out}' can still be rolled back, and compacting would drop the vectors for that",
            hint="Settle it first: hetsearch index upgrade GALLERY with --commit, or with --rollback.",
        )


def _full(live: Live, size: int) -> Iterator[tuple[str | None, Shard]]:
    """The rows that count, in full shards of one space each; the last of a space may be smaller."""
    entries = live.shards.manifest.shards
    for space in dict.fromkeys(entry.space for entry in entries):
        waiting: Shard | None = None
        for shard in live.shards.of(entry for entry in entries if entry.space == space):
            waiting = shard if waiting is None else waiting.join(shard)
            while len(waiting.keys) >= size:
                yield space, waiting.take(range(size))
                waiting = waiting.take(range(size, len(waiting.keys)))
        if waiting is not None and waiting.keys:
            yield space, waiting
