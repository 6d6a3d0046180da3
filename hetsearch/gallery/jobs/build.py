"""The job that makes a gallery: plan (:mod:`hetsearch.gallery.jobs.plan`), embed, build; ``verify`` has a module too.

The plan is written first and the shards follow from it; ``gallery.json`` comes last. So a job that is killed leaves
nothing that opens, and the same command goes on from the shards that are there.
"""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import replace
from pathlib import Path

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.errors import DataError
from hetsearch.files import make_folder
from hetsearch.gallery.card import CARD, GalleryCard, read_card
from hetsearch.gallery.choosing.choice import AUTO
from hetsearch.gallery.choosing.choose import choose
from hetsearch.gallery.choosing.limits import Limits
from hetsearch.gallery.embedding.embed import Embedding, OnError, Runner, Say, embed, require_counts, run_here, silent
from hetsearch.gallery.embedding.shards import ShardSet
from hetsearch.gallery.folder import exclusive, require_ours, sweep
from hetsearch.gallery.gallery import open_gallery
from hetsearch.gallery.ids import require_distinct
from hetsearch.gallery.jobs.estimate import require_room
from hetsearch.gallery.jobs.generation import settle, write_generation
from hetsearch.gallery.jobs.plan import BATCH, SHARD_ROWS, Job, estimated, make_job, require_same, resumed
from hetsearch.gallery.jobs.report import BuildReport, folder_bytes
from hetsearch.gallery.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from hetsearch.gallery.omitted import read_failures
from hetsearch.runtime.encoder import Encoder


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
            measured on a sample of the vectors (see :mod:`hetsearch.gallery.choosing.choose`).
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
    job, planned = make_job(encoder, images, limit, Path(out), index, shard_rows, batch_size, workers)
    if not (job.out / CARD).exists():
        require_distinct(job.images.keys)
        require_ours(job.out)
        make_folder(job.out)
    with exclusive(job.out):
        if (job.out / CARD).exists():
            return _done_before(job, begin)
        job = resumed(job)
        require_room(estimated(job, planned))
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


def _nothing_read(job: Job, failures: tuple[Failure, ...]) -> DataError:
    """The error of a job without a vector. It leaves nothing to go on from: the images must change."""
    sweep(job.out, frozenset())
    job.folder.rmdir()
    return DataError(
        f"no image of '{job.images.name}' can be read",
        observed=f"{len(failures)} failures, first: {failures[0].reason}",
        hint="Look at the source with: hetsearch data check",
    )


def _done_before(job: Job, begin: float) -> BuildReport:
    card = read_card(job.out)
    require_same(job, card)
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
    if job.manifest.plan.weights != read_manifest(job.folder, card.generation).plan.weights:
        warnings.warn(
            f"the gallery '{job.out}' was made by '{card.encoder}', and '{job.encoder.name}' is another network of the "
            f"same space: nothing is embedded. Choose another --out for its vectors",
            stacklevel=3,
        )
    if job.uri is not None and not card.index.startswith(job.uri):
        warnings.warn(f"the gallery '{job.out}' is finished at '{card.index}'; '{job.uri}' is ignored", stacklevel=3)
    failures = read_failures(job.folder, card.generation)
    return replace(_report(job, card, failures, begin), done_before=True)


def _card(job: Job, manifest: Manifest, say: Say) -> GalleryCard:
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


def _report(job: Job, card: GalleryCard, failures: tuple[Failure, ...], begin: float) -> BuildReport:
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
