"""From a plan to shards: read, embed, write, shard by shard; a shard that is there is never embedded again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.errors import DamagedArtifact, ImageError
from hetsearch.gallery.decode import Decoded, iter_decoded
from hetsearch.gallery.manifest import Manifest, ShardEntry
from hetsearch.gallery.shards import DIGEST, Contents, Shard, recover_shard, write_shard
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import Vectors

OnError = Literal["skip", "fail"]
Say = Callable[[str], None]  # takes a line for the person

_Done = tuple[ShardEntry, tuple[Failure, ...]]


def silent(line: str) -> None:
    """What a job says where nobody asked to hear it: nothing."""


@dataclass(frozen=True)
class Embedding:
    """A job's stage that embeds.

    Attributes:
        encoder: makes the vectors.
        images: what the plan lists, in its order.
        folder: of the shards.
        manifest: holds the plan.
        on_error: ``skip`` records an image that cannot be read, ``fail`` stops at it.
        max_errors: stop when more images than this cannot be read.
        workers: processes that decode; 0 decodes in this one.
        progress: draw a bar with images/s on stderr.
        say: takes a line about what is reused.
    """

    encoder: Encoder
    images: ImageSet
    folder: Path
    manifest: Manifest
    on_error: OnError = "skip"
    max_errors: int | None = None
    workers: int = 0
    progress: bool = True
    say: Say = silent


@dataclass(frozen=True)
class Embedded:
    """What the stage gives.

    Attributes:
        shards: of the plan, in order; one may be empty.
        failures: the images that could not be read, in the order of the listing.
        reused: shards that were there already.
        images: how many were read in this run.
    """

    shards: tuple[ShardEntry, ...]
    failures: tuple[Failure, ...]
    reused: int
    images: int


def embed(job: Embedding) -> Embedded:
    """Write the shards of a plan that are not there yet.

    Raises:
        ImageError: too many images cannot be read.
        DataError: the encoder gives no unit vectors.
        HetsearchError: a worker process died.
    """
    plan = job.manifest.plan
    done = recovered(job.folder, job.manifest, job.say)
    reused, images = len(done), sum(len(plan.covered(number)) for number in done)
    missing = [number for number in range(plan.first, plan.first + plan.shards) if number not in done]
    if done:
        missed = sum(len(failures) for _, failures in done.values())
        job.say(
            f"resumed: {reused:,} of {plan.shards:,} shards are there, {images:,} images ({missed:,} of them not "
            f"read); {plan.rows - images:,} images are left"
        )
    known = [failure for _, failures in done.values() for failure in failures]
    check_failures(job, known)
    with tqdm(
        total=plan.rows, initial=images, desc="embed", unit="img", disable=None if job.progress else True
    ) as bar:
        done.update(_embed_missing(job, missing, known, bar))
    ordered = [done[number] for number in sorted(done)]
    return Embedded(
        shards=tuple(entry for entry, _ in ordered),
        failures=tuple(failure for _, failures in ordered for failure in failures),
        reused=reused,
        images=plan.rows - images,
    )


def recovered(folder: Path, manifest: Manifest, say: Say = silent) -> dict[int, _Done]:
    """The shards of a plan that a job before this one wrote, whole, by number."""
    found: dict[int, _Done] = {}
    for number in range(manifest.plan.first, manifest.plan.first + manifest.plan.shards):
        try:
            shard = recover_shard(folder, number, manifest.job, manifest.dim)
        except DamagedArtifact as error:
            say(f"embedded again: {error}")
            continue
        if shard is not None:
            found[number] = shard
    return found


def check_failures(job: Embedding, failures: list[Failure]) -> None:
    """Stop a job that has met too many images that cannot be read.

    Raises:
        ImageError: so it is.
    """
    allowed = 0 if job.on_error == "fail" else job.max_errors
    if allowed is None or len(failures) <= allowed:
        return
    key, reason = failures[allowed].key, failures[allowed].reason
    raise ImageError(
        f"the job stopped at an image that cannot be read ('{key}')",
        observed=reason,
        expected=f"at most {allowed} such images",
        hint="'--on-error skip' without --max-errors records such images in failures.parquet and goes on.",
    )


def _embed_missing(
    job: Embedding, missing: list[int], failures: list[Failure], bar: Any
) -> Iterator[tuple[int, _Done]]:
    """Give the shards as they are written. One is written while the next is embedded."""
    if not missing:
        return
    plan = job.manifest.plan
    stretches = (
        covered[start : start + plan.batch_size]
        for covered in map(plan.covered, missing)
        for start in range(0, len(covered), plan.batch_size)
    )
    batches = iter_decoded(job.images, job.encoder.input, stretches, job.workers)
    with contextlib.closing(batches), ThreadPoolExecutor(1) as writer:
        pending: tuple[int, Future[_Done]] | None = None
        for number in missing:
            parts = list(_encoded(job, batches, -(-len(plan.covered(number)) // plan.batch_size), failures, bar))
            if pending:
                yield pending[0], pending[1].result()
            shard, missed = _gathered(job.images, parts)
            pending = number, writer.submit(_write, job, number, shard, missed)
        if pending:
            yield pending[0], pending[1].result()


def _encoded(
    job: Embedding, batches: Iterator[Decoded], count: int, failures: list[Failure], bar: Any
) -> Iterator[tuple[tuple[int, ...], Vectors, Contents, tuple[Failure, ...]]]:
    """The next batches with their vectors; the pixels are let go at once."""
    for _ in range(count):
        batch = next(batches)
        failures += batch.failures
        check_failures(job, failures)
        vectors = np.empty((0, job.encoder.dim), dtype=np.float32)
        if batch.kept:
            vectors = job.encoder.encode_pixels(batch.pixels)
        bar.update(len(batch.rows))
        yield batch.kept, vectors, batch.contents, batch.failures


def _gathered(
    images: ImageSet, parts: list[tuple[tuple[int, ...], Vectors, Contents, tuple[Failure, ...]]]
) -> tuple[Shard, tuple[Failure, ...]]:
    rows = [row for kept, _, _, _ in parts for row in kept]
    failures = tuple(failure for _, _, _, missed in parts for failure in missed)
    vectors = np.concatenate([vectors for _, vectors, _, _ in parts])
    contents = np.concatenate([np.empty((0, DIGEST), np.uint8), *(found for _, _, found, _ in parts)])
    return describe(images, rows, vectors, contents), failures


def _write(job: Embedding, number: int, shard: Shard, failures: tuple[Failure, ...]) -> _Done:
    return write_shard(job.folder, number, shard, job.manifest.job, failures), failures


def describe(images: ImageSet, rows: list[int], vectors: Vectors, contents: Contents) -> Shard:
    """A shard of some images of a set, with all that the set knows about them.

    Args:
        images: the set.
        rows: positions in it.
        vectors: ``(rows, dim)``.
        contents: ``(rows, 32)``.
    """
    columns = {"label": images.labels, "group": images.groups, "domain": images.domains}
    attributes: dict[str, list[str | None]] = {
        name: [column[row] for row in rows] for name, column in columns.items() if column is not None
    }
    if rows and source_path(images, rows[0]) is not None:
        attributes["path"] = [source_path(images, row) for row in rows]
    return Shard(tuple(images.keys[row] for row in rows), vectors, attributes, contents)


def source_path(images: ImageSet, row: int) -> str | None:
    """Where an image's file lies; None where it has none. Absolute: the gallery is opened from other folders too."""
    try:
        source = images.read(row)
    except ImageError:
        return None
    return str(Path(source).absolute()) if isinstance(source, (str, Path)) else None
