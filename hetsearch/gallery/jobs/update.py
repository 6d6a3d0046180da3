"""A gallery that lives: update it from a new listing, add or change some items, delete some by key.

Each makes the next generation beside the present one and switches to it at the end; see
:mod:`hetsearch.gallery.jobs.generation`. A job that is killed leaves the present one, and goes on from its shards.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.errors import DataError
from hetsearch.gallery.card import GalleryCard, read_card
from hetsearch.gallery.embedding.decode import default_workers
from hetsearch.gallery.embedding.embed import (
    Embedded,
    Embedding,
    OnError,
    Runner,
    Say,
    embed,
    require_counts,
    run_here,
    silent,
)
from hetsearch.gallery.folder import exclusive
from hetsearch.gallery.ids import listing_hash, stable_id, stable_ids
from hetsearch.gallery.jobs.change import Change, Live, commit, copy_rows, plan_next, require_removable
from hetsearch.gallery.jobs.diff import Diff, Listing
from hetsearch.gallery.jobs.estimate import estimate, require_room
from hetsearch.gallery.jobs.report import UpdateReport, folder_bytes
from hetsearch.gallery.manifest import Manifest, Plan, weights_of, write_manifest
from hetsearch.gallery.omitted import read_failures
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import require_space


@dataclass(frozen=True)
class _Update:
    live: Live
    encoder: Encoder
    images: ImageSet
    listing: Listing
    diff: Diff
    remove: bool
    rebuild: bool
    workers: int

    @property
    def plan(self) -> Plan:
        """What is embedded. The shards and batches are cut as they were when the gallery was built."""
        rows = self.diff.embed
        return self.live.shards.manifest.plan.model_copy(
            update={
                "listing": self.listing.hash_of(rows), "rows": len(rows), "first": self.live.first,
                "weights": weights_of(self.encoder),
            }
        )  # fmt: skip

    @property
    def head(self) -> Manifest:
        """The next manifest without its shards."""
        present = self.live.shards.manifest
        return Manifest(
            space=present.space, encoder=self.encoder.name, dim=present.dim, plan=self.plan,
            images=self.images.name if self.remove else present.images,
        )  # fmt: skip


def update_gallery(
    gallery: str | Path,
    encoder: Encoder,
    images: ImageSet,
    *,
    remove: bool = True,
    rebuild: bool = False,
    on_error: OnError = "skip",
    max_errors: int | None = None,
    workers: int | None = 0,
    dry_run: bool = False,
    progress: bool = True,
    say: Say = silent,
    runner: Runner = run_here,
) -> UpdateReport:
    """Make a gallery hold what is listed now; only pictures that it does not know are embedded.

    An image that is listed and cannot be read keeps the vector that it had, if it had one, and is named.

    Args:
        gallery: its folder.
        encoder: the one that made its vectors.
        images: the new listing.
        remove: whether items that are not listed go; without it, this adds and changes only (an upsert).
        rebuild: make the index anew from the stored vectors instead of changing it.
        on_error: ``skip`` records an image that cannot be read, ``fail`` stops at it.
        max_errors: stop when more images than this cannot be read.
        workers: processes that hash and decode; see :func:`hetsearch.gallery.build_gallery`.
        dry_run: only say what would be done.
        progress: draw a bar with images/s on stderr.
        say: takes a line for the person, about what is reused.
        runner: embeds the shards; see :func:`hetsearch.gallery.build_gallery`. The files are hashed here.

    Raises:
        UsageError: no gallery, an index that cannot remove vectors and must, no room on the disk, another job at
            work, or nothing would be left.
        SpaceMismatch: the encoder is of another space.
        ImageError: too many images cannot be read.
        DamagedArtifact: a file of the gallery was changed.
        HetsearchError: a worker process died, or the index cannot be written.
    """
    begin = time.perf_counter()
    out = Path(gallery)
    require_space(encoder.space, read_card(out).space, what=f"the encoder and the gallery '{out}'")
    if not len(images):
        raise DataError(f"'{images.name}' has no images")
    require_counts(max_errors, workers)
    with exclusive(out):
        live = Live.read(out)
        warn_of_another_encoder(live, encoder)
        processes = default_workers(images) if workers is None else workers
        if not rebuild and remove:
            # The keys alone may show it, before any file is read.
            require_removable(live, len(np.setdiff1d(live.known.ids, stable_ids(images.keys))))
        listing = Listing.scan(images, processes, progress=progress)
        diff = Diff.between(live.known, listing, remove=remove)
        job = _Update(live, encoder, images, listing, diff, remove, rebuild, processes)
        if not rebuild:
            require_removable(live, len(diff.gone) + diff.changed)
        if dry_run:
            return _report(job, live.card, Embedded((), (), 0, 0), (), begin, dry_run=True)
        subset = images.subset(diff.embed.tolist())
        _prepare(job, subset, say)
        stage = (encoder, subset, live.shards.folder, job.head)
        done = embed(Embedding(*stage, on_error, max_errors, processes, progress, say, runner))
        failures = done.failures if remove else (*_failures_of_others(job), *done.failures)
        card = _finish(job, done, failures)
    return _report(job, card, done, failures, begin)


def delete_items(
    gallery: str | Path, keys: Sequence[str], *, rebuild: bool = False, say: Say = silent
) -> UpdateReport:
    """Delete items by key. A key that is not there is counted, so a job that was killed can be run again.

    Args:
        gallery: its folder.
        keys: of the items.
        rebuild: make the index anew from the stored vectors instead of changing it.
        say: takes a line for the person.

    Raises:
        UsageError: no gallery, an index that cannot remove vectors, another job at work, or nothing would be left.
        DamagedArtifact: a file of the gallery was changed.
    """
    begin = time.perf_counter()
    out = Path(gallery)
    read_card(out)
    with exclusive(out):
        live = Live.read(out)
        ids = {stable_id(key): key for key in keys}
        wanted = np.array(sorted(ids), dtype=np.int64)
        gone = np.intersect1d(wanted, live.known.ids)
        if not rebuild:
            require_removable(live, len(gone))
        live.drop_pending(say)
        failures = read_failures(live.shards.folder, live.card.generation)
        left = tuple(failure for failure in failures if stable_id(failure.key) not in ids)
        card = live.card
        if len(gone) or left != failures:
            card = commit(live, Change(live.shards.manifest, gone=gone, failures=left, rebuild=rebuild))
    return UpdateReport(
        gallery=out, space=card.space, generation=card.generation, rows=card.count, removed=len(gone),
        unchanged=card.count, absent=tuple(ids[number] for number in np.setdiff1d(wanted, gone).tolist()),
        failures=left, nothing=card == live.card, seconds=time.perf_counter() - begin, bytes=folder_bytes(out),
    )  # fmt: skip


def warn_of_another_encoder(live: Live, encoder: Encoder) -> None:
    """Say where an encoder is not the one that made a gallery's vectors, though of the same space."""
    if weights_of(encoder) != live.shards.manifest.plan.weights:
        warnings.warn(
            f"the vectors of '{live.out}' were made by '{live.card.encoder}', and '{encoder.name}' is another network "
            f"of the same space: its vectors are searched among them, but may find less. 'hetsearch index build' into "
            f"another folder makes a gallery of one network",
            stacklevel=3,
        )


def _prepare(job: _Update, subset: ImageSet, say: Say) -> None:
    """Go on with the unfinished update of the same images or drop another one, and write the plan down."""
    live, head = job.live, job.head
    live.resume(head, say)
    items = live.card.count + job.diff.new
    store = plan_next(live, items, rebuild=job.rebuild)
    require_room(
        estimate(
            live.out, subset if len(subset) else job.images, job.encoder, store, head.plan, workers=job.workers,
            items=items, copies=len(job.diff.moved) + len(job.diff.described),
        )
    )  # fmt: skip
    if head.plan.rows and not live.pending.exists():
        write_manifest(live.shards.folder, head, live.next)


def _failures_of_others(job: _Update) -> tuple[Failure, ...]:
    """What is known of images that are not listed this time."""
    failures = read_failures(job.live.shards.folder, job.live.card.generation)
    listed = set(job.listing.ids.tolist()) if failures else set()
    return tuple(failure for failure in failures if stable_id(failure.key) not in listed)


def _finish(job: _Update, done: Embedded, failures: tuple[Failure, ...]) -> GalleryCard:
    """Copy what is there already, and switch; or leave all as it is where nothing is new."""
    live, diff = job.live, job.diff
    listing = listing_hash(job.images.keys) if job.remove else None
    known = read_failures(live.shards.folder, live.card.generation)
    rows = sum(entry.rows for entry in done.shards) + len(diff.moved) + len(diff.described) + len(diff.gone)
    if not rows and failures == known and listing in (None, live.card.listing) and not job.rebuild:
        live.drop_pending()
        return live.card
    first = live.first + job.plan.shards
    moved = copy_rows(live, job.images, diff.moved, diff.donors, first)
    described = copy_rows(live, job.images, diff.described, diff.owners, first + len(moved))
    # Where nothing was embedded, the plan of the last job that did is the one to keep.
    head = job.head if len(diff.embed) else live.shards.manifest.model_copy(update={"images": job.head.images})
    change = Change(
        head, (*done.shards, *moved), described, live.known.ids[diff.gone], failures, listing, job.rebuild
    )
    return commit(live, change)


def _report(
    job: _Update,
    card: GalleryCard,
    done: Embedded,
    failures: tuple[Failure, ...],
    begin: float,
    *,
    dry_run: bool = False,
) -> UpdateReport:
    live, diff = job.live, job.diff
    missed = np.array([stable_id(failure.key) for failure in done.failures], dtype=np.int64)
    kept = int(np.isin(missed, live.known.ids).sum())
    return UpdateReport(
        gallery=live.out, space=card.space, generation=card.generation, rows=card.count,
        new=diff.new - (len(missed) - kept), changed=diff.changed - kept, renamed=diff.renamed,
        described=len(diff.described), removed=len(diff.gone) - diff.renamed, unchanged=diff.unchanged, kept=kept,
        failures=failures, to_embed=len(diff.embed), embedded=done.images, reused=done.reused,
        copied=len(diff.moved) + len(diff.described), nothing=not dry_run and card == live.card, dry_run=dry_run,
        seconds=time.perf_counter() - begin, bytes=folder_bytes(live.out),
    )  # fmt: skip
