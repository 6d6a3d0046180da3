"""The job that makes a gallery: plan, embed, build. ``verify`` is :mod:`hetsearch.gallery.verify`.

The plan is written first and the shards follow from it; ``gallery.json`` comes last. So a job that is killed leaves
nothing that opens, and the same command goes on from the shards that are there.
"""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.errors import DataError, UsageError, require_least
from hetsearch.files import make_folder
from hetsearch.gallery.card import CARD, EMBEDDINGS, GalleryCard, read_card
from hetsearch.gallery.choice import AUTO
from hetsearch.gallery.choose import choose, plan_store, sized
from hetsearch.gallery.decode import default_workers
from hetsearch.gallery.embed import Embedding, OnError, Runner, Say, embed, require_counts, run_here, silent
from hetsearch.gallery.estimate import Estimate, estimate, measure, require_room
from hetsearch.gallery.folder import exclusive, require_ours, sweep
from hetsearch.gallery.gallery import open_gallery
from hetsearch.gallery.generation import settle, write_generation
from hetsearch.gallery.ids import listing_hash, require_distinct
from hetsearch.gallery.limits import Limits
from hetsearch.gallery.manifest import MANIFEST, Manifest, Plan, read_manifest, weights_of, write_manifest
from hetsearch.gallery.report import BuildReport, folder_bytes
from hetsearch.gallery.shards import ShardSet, read_failures, shard_name
from hetsearch.gallery.store import StorePlan
from hetsearch.gallery.tables import arrow
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import require_space

SHARD_ROWS = 4096
BATCH = 64


@dataclass(frozen=True)
class _Job:
    encoder: Encoder
    images: ImageSet
    out: Path
    manifest: Manifest
    store: str
    uri: str | None
    factory: str
    limits: Limits | None
    workers: int

    @property
    def folder(self) -> Path:
        return self.out / EMBEDDINGS


def build_gallery(
    encoder: Encoder,
    images: ImageSet,
    out: str | Path,
    *,
    store: str = "faiss",
    uri: str | None = None,
    factory: str = "Flat",
    limits: Limits | None = None,
    limit: int | None = None,
    on_error: OnError = "skip",
    max_errors: int | None = None,
    shard_rows: int = SHARD_ROWS,
    batch_size: int = BATCH,
    workers: int | None = 0,
    progress: bool = True,
    say: Say = silent,
    runner: Runner = run_here,
) -> BuildReport:
    """Embed images and make a gallery of them.

    A finished gallery of the same images and space is left as it is; an unfinished one is gone on with, in the shards
    and batches that it was begun with.

    Args:
        encoder: makes the vectors.
        images: what to embed.
        out: the folder of the gallery.
        store: kind of store: ``faiss``, a file, or ``milvus``, a database.
        uri: what the gallery is to be called on a Milvus server, ``http://HOST:PORT/NAME``; None keeps it in a file.
        factory: FAISS's description of the index; ``Flat`` is exact, ``auto`` the simplest that meets the limits,
            measured on a sample of the vectors (see :mod:`hetsearch.gallery.choose`).
        limits: what the index of ``auto`` may cost and must find; by default 0.95 of the exact first ten.
        limit: take only the first so many images.
        on_error: ``skip`` records an image that cannot be read, ``fail`` stops at it.
        max_errors: stop when more images than this cannot be read.
        shard_rows: images that one shard covers.
        batch_size: images in one call of the encoder.
        workers: processes that decode; 0 decodes in this one, None takes what suits the machine. They are started
            afresh, so a script that asks for them needs ``if __name__ == "__main__":``.
        progress: draw a bar with images/s on stderr.
        say: takes a line for the person, about what is reused.
        runner: embeds the shards: in this process, or on a cluster (:class:`hetsearch.gallery.RayRunner`). A job that
            was begun by one can be gone on with by another.

    Raises:
        UsageError: an argument cannot work, the disk has no room, another job is at work in ``out``, ``out`` holds
            something else or the gallery of other images, finished or not, or no index meets the limits.
        DataError: there are no images, or none can be read.
        ImageError: too many images cannot be read.
        SpaceMismatch: ``out`` is a gallery of another space, finished or not.
        DamagedArtifact: ``out`` is a finished gallery that was changed.
        MissingExtra: faiss or pyarrow is not installed.
        HetsearchError: a worker process died, or the index cannot be written.
    """
    begin = time.perf_counter()
    require_counts(max_errors, workers)
    index = (store, uri, factory, limits)
    job, planned = _job(encoder, _chosen(images, limit), Path(out), index, shard_rows, batch_size, workers)
    if not (job.out / CARD).exists():
        require_distinct(job.images.keys)
        require_ours(job.out)
        make_folder(job.out)
    with exclusive(job.out):
        if (job.out / CARD).exists():
            return _done_before(job, begin)
        job = _resumed(job)
        require_room(_estimate(job, planned))
        job.folder.mkdir(exist_ok=True)
        settle(job.out)
        if not (job.folder / MANIFEST).exists():
            write_manifest(job.folder, job.manifest)
        plan = (encoder, job.images, job.folder, job.manifest)
        done = embed(Embedding(*plan, on_error, max_errors, job.workers, progress, say, runner))
        shards = tuple(entry for entry in done.shards if entry.rows)
        if not shards:
            raise _nothing_read(job, done.failures)
        manifest = job.manifest.model_copy(update={"shards": shards})
        card = write_generation(job.out, _card(job, manifest, say), manifest, failures=done.failures)
    return replace(
        _report(job, card, done.failures, begin), shards=len(done.shards), reused=done.reused, embedded=done.images
    )


def plan_gallery(
    encoder: Encoder,
    images: ImageSet,
    out: str | Path,
    *,
    store: str = "faiss",
    uri: str | None = None,
    factory: str = "Flat",
    limits: Limits | None = None,
    limit: int | None = None,
    shard_rows: int = SHARD_ROWS,
    batch_size: int = BATCH,
    workers: int | None = 0,
) -> Estimate:
    """What :func:`build_gallery` would cost: bytes, memory and time. A few images are embedded, nothing is written.

    The arguments and errors are those of :func:`build_gallery`; that the disk has no room is no error here but
    :attr:`Estimate.fits`.
    """
    require_counts(None, workers)
    index = (store, uri, factory, limits)
    job, planned = _job(encoder, _chosen(images, limit), Path(out), index, shard_rows, batch_size, workers)
    if (job.out / CARD).exists():
        _require_same(job, read_card(job.out))
        return replace(_estimate(job, planned), images=0, shards=0, shard_bytes=0, index_bytes=0, item_bytes=0)
    require_ours(job.out)
    expected = _estimate(_resumed(job), planned)
    candidates = sized(encoder.dim, len(job.images), limits or Limits()) if factory == AUTO else ()
    return replace(expected, images_per_second=measure(encoder, job.images, job.workers), candidates=candidates)


def _chosen(images: ImageSet, limit: int | None) -> ImageSet:
    require_least("limit", limit, 1)
    if not len(images):
        raise DataError(f"'{images.name}' has no images")
    return images if limit is None else images.subset(range(min(limit, len(images))))


def _job(
    encoder: Encoder,
    images: ImageSet,
    out: Path,
    index: tuple[str, str | None, str, Limits | None],
    shard_rows: int,
    batch_size: int,
    workers: int | None,
) -> tuple[_Job, StorePlan]:
    """The job, and the store that it is to make; refuses at once what cannot be built."""
    arrow()
    for name, value in (("shard_rows", shard_rows), ("batch_size", batch_size)):
        require_least(name, value, 1)
    plan = Plan(
        listing=listing_hash(images.keys),
        rows=len(images),
        shard_rows=shard_rows,
        batch_size=batch_size,
        weights=weights_of(encoder),
    )
    manifest = Manifest(space=encoder.space, encoder=encoder.name, dim=encoder.dim, images=images.name, plan=plan)
    number = default_workers(images) if workers is None else workers
    job = _Job(encoder, images, out, manifest, *index, number)
    if (out / CARD).exists():  # before what the store may say of other images
        _require_same(job, read_card(out))
    return job, plan_store(out, *index, encoder.dim, len(images))


def _resumed(job: _Job) -> _Job:
    """The job in the shards and batches that an unfinished one was begun with; the job itself where there is none.

    Raises:
        SpaceMismatch, UsageError: the unfinished job is another one.
    """
    if not (job.folder / MANIFEST).exists():
        return job
    begun = read_manifest(job.folder)
    require_space(job.encoder.space, begun.space, what=f"the encoder and the unfinished gallery '{job.out}'")
    cut = {"shard_rows": begun.plan.shard_rows, "batch_size": begun.plan.batch_size}
    manifest = job.manifest.model_copy(update={"plan": job.manifest.plan.model_copy(update=cut)})
    if manifest.job != begun.job:
        other = "another encoder" if manifest.plan.listing == begun.plan.listing else "other images"
        raise UsageError(
            f"'{job.out}' holds an unfinished gallery of {other}",
            observed=f"'{job.encoder.name}', {manifest.plan.rows:,} images of '{manifest.images}'",
            expected=f"'{begun.encoder}', {begun.plan.rows:,} images of '{begun.images}'",
            hint="Finish that one first, remove the folder, or choose another --out.",
        )
    return replace(job, manifest=manifest)


def _estimate(job: _Job, planned: StorePlan) -> Estimate:
    plan = job.manifest.plan
    there = sum((job.folder / shard_name(number)).exists() for number in range(plan.shards))
    return estimate(job.out, job.images, job.encoder, planned, plan, workers=job.workers, there=there)


def _nothing_read(job: _Job, failures: tuple[Failure, ...]) -> DataError:
    """The error of a job without a vector. It leaves nothing to go on from: the images must change."""
    sweep(job.out, frozenset())
    job.folder.rmdir()
    return DataError(
        f"no image of '{job.images.name}' can be read",
        observed=f"{len(failures)} failures, first: {failures[0].reason}",
        hint="Look at the source with: hetsearch data check",
    )


def _require_same(job: _Job, card: GalleryCard) -> None:
    require_space(job.encoder.space, card.space, what=f"the encoder and the gallery '{job.out}'")
    if card.listing != job.manifest.plan.listing:
        raise UsageError(
            f"'{job.out}' is the gallery of other images",
            observed=f"{job.manifest.plan.rows:,} images of '{job.images.name}'",
            expected=f"the keys of the {card.count + card.failures:,} images of '{card.images}', in their order",
            hint=f"To change its images use: hetsearch index update '{job.out}'. Or choose another --out.",
        )


def _done_before(job: _Job, begin: float) -> BuildReport:
    card = read_card(job.out)
    _require_same(job, card)
    open_gallery(job.out)
    settle(job.out)  # a job that was killed at its very end has not led the readers of a database here
    if os.path.abspath(card.images) != os.path.abspath(job.images.name):
        warnings.warn(
            f"the gallery '{job.out}' was built from '{card.images}'; '{job.images.name}' has the same keys and is "
            f"taken for the same images. Choose another --out if it is not",
            stacklevel=3,
        )
    answered = job.factory == AUTO and card.choice is not None and card.choice.limits == (job.limits or Limits())
    factory = card.factory if answered else job.factory
    asked = {"store": job.store, "factory": factory, "encoder": job.encoder.name}
    for name, value in asked.items():
        if getattr(card, name) != value:
            warnings.warn(
                f"the gallery '{job.out}' is finished with the {name} '{getattr(card, name)}'; '{value}' is "
                f"ignored. Choose another --out for it",
                stacklevel=3,
            )
    if job.uri is not None and not card.index.startswith(job.uri):
        warnings.warn(f"the gallery '{job.out}' is finished at '{card.index}'; '{job.uri}' is ignored", stacklevel=3)
    failures = read_failures(job.folder, card.generation)
    return replace(_report(job, card, failures, begin), done_before=True)


def _card(job: _Job, manifest: Manifest, say: Say) -> GalleryCard:
    """The card of the new gallery; a factory that is to be chosen is chosen here."""
    shards = ShardSet(job.folder, manifest)
    choice = choose(shards, job.limits or Limits(), say) if job.factory == AUTO else None
    return GalleryCard(
        space=job.encoder.space,
        dim=job.encoder.dim,
        encoder=job.encoder.name,
        input=job.encoder.input,
        store=job.store,
        factory=choice.factory if choice else job.factory,
        choice=choice,
        count=0,
        index=job.uri or "",
        images=job.images.name,
        listing=job.manifest.plan.listing,
    )


def _report(job: _Job, card: GalleryCard, failures: tuple[Failure, ...], begin: float) -> BuildReport:
    return BuildReport(
        gallery=job.out,
        space=card.space,
        encoder=card.encoder,
        store=card.store,
        factory=card.factory,
        rows=card.count,
        failures=failures,
        seconds=time.perf_counter() - begin,
        bytes=folder_bytes(job.out),
        choice=card.choice,
    )
