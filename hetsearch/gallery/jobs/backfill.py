"""Embed the items of an upgraded gallery again, with the encoder that is in front: in an order, step by step.

Each step is a job like an update: its plan is written first, its shards follow, and at its end the gallery switches to
the next generation, so that searches gain step by step. A job that is killed goes on from its shards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.errors import ImageError, SpaceMismatch, UsageError, require_least
from hetsearch.gallery.card import GalleryCard, read_card
from hetsearch.gallery.embedding.decode import default_workers
from hetsearch.gallery.embedding.embed import Embedded, Embedding, OnError, Say, embed, require_counts, silent
from hetsearch.gallery.folder import exclusive
from hetsearch.gallery.ids import Ids, listing_hash, stable_id, stable_ids
from hetsearch.gallery.jobs.change import Change, Live, commit, plan_next, require_removable
from hetsearch.gallery.jobs.estimate import estimate, require_room
from hetsearch.gallery.jobs.generation import settle
from hetsearch.gallery.jobs.order import ORDERS, ranking, require_order
from hetsearch.gallery.jobs.report import UpgradeReport
from hetsearch.gallery.jobs.update import warn_of_another_encoder
from hetsearch.gallery.manifest import Manifest, read_manifest, weights_of, write_manifest
from hetsearch.gallery.omitted import read_failures
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import EmbeddingSpace, require_space

STEPS = 20  # switches of a whole back-fill: each writes the index anew


@dataclass(frozen=True)
class _Backfill:
    encoder: Encoder
    images: ImageSet
    ids: Ids  # of the images, sorted
    rows: Ids  # their positions
    step: int
    rebuild: bool
    on_error: OnError
    max_errors: int | None
    workers: int
    progress: bool
    say: Say

    def subset(self, ids: Ids) -> ImageSet:
        """The images of some ids, in their order."""
        return self.images.subset(self.rows[np.searchsorted(self.ids, ids)].tolist())


def backfill_gallery(
    gallery: str | Path,
    encoder: Encoder,
    images: ImageSet,
    *,
    order: str = "random",
    space: EmbeddingSpace | None = None,
    share: float | None = None,
    limit: int | None = None,
    step: int | None = None,
    rebuild: bool = False,
    on_error: OnError = "skip",
    max_errors: int | None = None,
    workers: int | None = 0,
    dry_run: bool = False,
    progress: bool = True,
    say: Say = silent,
) -> UpgradeReport:
    """Embed items of an upgraded gallery again that still have a vector of an older space.

    An image that cannot be read keeps the vector that it has, is named, and comes last the next time.

    Args:
        gallery: its folder.
        encoder: of the gallery's space.
        images: where the items' pictures are found, by key; what else is listed is left out.
        order: ``random``, or ``gain``: those first whose older vector belongs least clearly to one class of the new
            space, see :func:`hetsearch.gallery.jobs.order.margins`.
        space: the gallery's, with its classifier; only ``gain`` needs it.
        share: stop when so much of the gallery lies in its own space, 0 to 1; None goes to the end.
        limit: embed at most so many items in this call.
        step: items between two switches; default a twentieth of the gallery, a shard at least.
        rebuild: make the index anew at each switch instead of changing it.
        on_error: ``skip`` records an image that cannot be read, ``fail`` stops at it.
        max_errors: stop when more images than this cannot be read in this call.
        workers: processes that decode; see :func:`hetsearch.gallery.build_gallery`.
        dry_run: only say how many items would be embedded.
        progress: draw a bar with images/s on stderr.
        say: takes a line for the person, about what is reused.

    Raises:
        UsageError: no gallery, an argument that cannot work, an index that cannot remove vectors, no room on the
            disk, or another job at work.
        SpaceMismatch: the encoder or the space is not the gallery's.
        ImageError: too many images cannot be read.
        DamagedArtifact: a file of the gallery was changed.
        HetsearchError: a worker process died, or the index cannot be written.
    """
    begin, out = time.perf_counter(), Path(gallery)
    own = read_card(out).space
    if encoder.space != own:
        raise SpaceMismatch(
            f"the encoder '{encoder.name}' is not in front of the gallery '{out}'",
            observed=encoder.space,
            expected=own,
            hint="A new gallery encoder is put in front first: hetsearch index upgrade GALLERY without --backfill.",
        )
    if space is not None:
        require_space(space.id, own, what=f"the space and the gallery '{out}'")
    _check(order, share, limit, step)
    require_counts(max_errors, workers)
    with exclusive(out):
        live = Live.read(out)
        warn_of_another_encoder(live, encoder)
        processes = default_workers(images) if workers is None else workers
        listed = stable_ids(images.keys)
        rows = np.argsort(listed)
        size = step or max(live.shards.manifest.plan.shard_rows, -(-live.card.count // STEPS))
        how = (size, rebuild, on_error, max_errors, processes, progress, say)
        job = _Backfill(encoder, images, listed[rows], rows, *how)
        left = _left(live, order, space)
        there = np.isin(left, listed)
        ids = left[there][: _most(live.card, share, limit)]
        if not rebuild:
            require_removable(live, len(ids))
        facts = {"to_embed": len(ids), "absent": int((~there).sum())}
        if dry_run or not len(ids):
            if not dry_run:
                settle(out)
            return UpgradeReport.of(out, live.card, begin, **facts, nothing=not len(ids), dry_run=dry_run)
        done = list(_steps(job, out, ids))
    failures = tuple(failure for _, part in done for failure in part.failures)
    return UpgradeReport.of(
        out, done[-1][0], begin, **facts, failures=failures, switches=len(done),
        embedded=sum(part.images for _, part in done), reused=sum(part.reused for _, part in done),
    )  # fmt: skip


def _check(order: str, share: float | None, limit: int | None, step: int | None) -> None:
    require_order(order)
    if share is not None and not 0 < share <= 1:
        raise UsageError("the share is no share", observed=share, expected="more than 0, at most 1")
    for name, value in (("limit", limit), ("step", step)):
        require_least(name, value, 1)


def _left(live: Live, order: str, space: EmbeddingSpace | None) -> Ids:
    """Ids of the items of an older space, in order; those that could not be read before come last."""
    known = live.known
    older = np.array([entry.space is not None for entry in live.shards.manifest.shards])[known.shards]
    ids, scores = known.ids[older], ORDERS[order](live.shards, known, space)[older]
    failures = read_failures(live.shards.folder, live.card.generation)
    failed = np.isin(ids, [stable_id(failure.key) for failure in failures])
    ranked = ranking(ids, scores)
    return np.concatenate([ids[ranked[~failed[ranked]]], ids[ranked[failed[ranked]]]])


def _most(card: GalleryCard, share: float | None, limit: int | None) -> int:
    """How many items this call may embed."""
    there = card.spaces.get(card.space, 0) if card.spaces else card.count
    wanted = math.ceil((1 if share is None else share) * card.count) - there
    return max(0, wanted if limit is None else min(wanted, limit))


def _steps(job: _Backfill, out: Path, ids: Ids) -> Iterator[tuple[GalleryCard, Embedded]]:
    errors = 0
    while len(ids):
        live = Live.read(out)
        part = ids[: _begun(job, live, ids) or job.step]
        card, done = _step(job, live, part, errors)
        errors += len(done.failures)
        ids = ids[len(part) :]
        yield card, done


def _begun(job: _Backfill, live: Live, ids: Ids) -> int:
    """How many of the ids a step embeds that was begun and not finished; 0 where there is none, or another job."""
    if not live.pending.exists():
        return 0
    begun = read_manifest(live.shards.folder, live.next)
    part = ids[: begun.plan.rows]
    return len(part) if _head(job, live, job.subset(part)).job == begun.job else 0


def _head(job: _Backfill, live: Live, subset: ImageSet) -> Manifest:
    """The next manifest without its shards."""
    manifest = live.shards.manifest
    plan = manifest.plan.model_copy(
        update={
            "listing": listing_hash(subset.keys), "rows": len(subset), "first": live.first,
            "weights": weights_of(job.encoder),
        }
    )  # fmt: skip
    update = {"plan": plan, "encoder": job.encoder.name, "shards": (), "failures": 0, "dead": 0, "files": {}}
    return manifest.model_copy(update=update)


def _step(job: _Backfill, live: Live, ids: Ids, errors: int) -> tuple[GalleryCard, Embedded]:
    """Embed some items and switch to the generation that holds them."""
    subset = job.subset(ids)
    head, folder = _head(job, live, subset), live.shards.folder
    live.resume(head, job.say)
    card = live.card
    store = plan_next(live, card.count, rebuild=job.rebuild)
    require_room(estimate(live.out, subset, job.encoder, store, head.plan, workers=job.workers, items=card.count))
    if not live.pending.exists():
        write_manifest(folder, head, live.next)
    allowed = None if job.max_errors is None else job.max_errors - errors
    stage = (job.encoder, subset, folder, head)
    try:
        done = embed(Embedding(*stage, job.on_error, allowed, job.workers, job.progress, job.say))
    except ImageError as error:
        # The step's own count is what is left of the whole call's.
        whole = None if job.on_error == "fail" else f"at most {job.max_errors} such images in all"
        raise ImageError(
            error.what, observed=error.observed, expected=whole or error.expected, hint=error.hint
        ) from None
    before = read_failures(folder, live.card.generation)
    failures = _merged(before, ids, done.failures)
    nothing_new = {failure.key for failure in failures} == {failure.key for failure in before}
    if nothing_new and not any(entry.rows for entry in done.shards):
        live.drop_pending()
        return live.card, done
    change = Change(head, done.shards, failures=failures, listing=live.card.listing, rebuild=job.rebuild)
    return commit(live, change), done


def _merged(before: tuple[Failure, ...], tried: Ids, failures: tuple[Failure, ...]) -> tuple[Failure, ...]:
    """The failures of the next generation: those of before that were not tried again, and those of now."""
    again = set(tried.tolist())
    return (*(failure for failure in before if stable_id(failure.key) not in again), *failures)
