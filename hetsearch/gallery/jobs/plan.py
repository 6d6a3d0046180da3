"""The first stage of the job that makes a gallery: what is asked for, whether it can be done, and what it will cost."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hetsearch.data.images import ImageSet
from hetsearch.errors import DataError, UsageError, require_least
from hetsearch.gallery.card import CARD, EMBEDDINGS, GalleryCard, read_card
from hetsearch.gallery.choosing.choice import AUTO
from hetsearch.gallery.choosing.choose import plan_store, sized
from hetsearch.gallery.choosing.limits import Limits
from hetsearch.gallery.embedding.decode import default_workers
from hetsearch.gallery.embedding.embed import require_counts
from hetsearch.gallery.embedding.shards import shard_name
from hetsearch.gallery.folder import require_ours
from hetsearch.gallery.ids import listing_hash
from hetsearch.gallery.jobs.estimate import Estimate, estimate, measure
from hetsearch.gallery.manifest import MANIFEST, Manifest, Plan, read_manifest, weights_of
from hetsearch.gallery.stores.store import StorePlan
from hetsearch.gallery.tables import arrow
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import require_space

SHARD_ROWS = 4096
BATCH = 64


@dataclass(frozen=True)
class Job:
    """What a job that makes a gallery was asked for, and its manifest without shards."""

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
        """Of the shards."""
        return self.out / EMBEDDINGS


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
    """What a job would cost: bytes, memory and time. A few images are embedded, nothing is written.

    The arguments and errors are those of :func:`hetsearch.gallery.build_gallery`; that the disk has no room is no
    error here but :attr:`Estimate.fits`.
    """
    require_counts(None, workers)
    index = (store, uri, factory, limits)
    job, planned = make_job(encoder, images, limit, Path(out), index, shard_rows, batch_size, workers)
    if (job.out / CARD).exists():
        require_same(job, read_card(job.out))
        return replace(estimated(job, planned), images=0, shards=0, shard_bytes=0, index_bytes=0, item_bytes=0)
    require_ours(job.out)
    expected = estimated(resumed(job), planned)
    candidates = sized(encoder.dim, len(job.images), limits or Limits()) if factory == AUTO else ()
    return replace(expected, images_per_second=measure(encoder, job.images, job.workers), candidates=candidates)


def make_job(
    encoder: Encoder,
    images: ImageSet,
    limit: int | None,
    out: Path,
    index: tuple[str, str | None, str, Limits | None],
    shard_rows: int,
    batch_size: int,
    workers: int | None,
) -> tuple[Job, StorePlan]:
    """The job, and the store that it is to make; refuses at once what cannot be built."""
    images = _chosen(images, limit)
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
    job = Job(encoder, images, out, manifest, *index, number)
    if (out / CARD).exists():  # before what the store may say of other images
        require_same(job, read_card(out))
    return job, plan_store(out, *index, encoder.dim, len(images))


def resumed(job: Job) -> Job:
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


def estimated(job: Job, planned: StorePlan) -> Estimate:
    """What the job costs, as far as it is known without reading an image."""
    plan = job.manifest.plan
    there = sum((job.folder / shard_name(number)).exists() for number in range(plan.shards))
    return estimate(job.out, job.images, job.encoder, planned, plan, workers=job.workers, there=there)


def require_same(job: Job, card: GalleryCard) -> None:
    """Refuse a finished gallery of something else.

    Raises:
        SpaceMismatch: of another space.
        UsageError: of other images.
    """
    require_space(job.encoder.space, card.space, what=f"the encoder and the gallery '{job.out}'")
    if card.listing != job.manifest.plan.listing:
        raise UsageError(
            f"'{job.out}' is the gallery of other images",
            observed=f"{job.manifest.plan.rows:,} images of '{job.images.name}'",
            expected=f"the keys of the {card.count + card.failures:,} images of '{card.images}', in their order",
            hint=f"To change its images use: hetsearch index update '{job.out}'. Or choose another --out.",
        )


def _chosen(images: ImageSet, limit: int | None) -> ImageSet:
    require_least("limit", limit, 1)
    if not len(images):
        raise DataError(f"'{images.name}' has no images")
    return images if limit is None else images.subset(range(min(limit, len(images))))
