"""From a plan to shards: read, embed, write, shard by shard; a shard that is there is never embedded again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.data.reading import DIGEST, Contents
from hetsearch.errors import DamagedArtifact, ImageError, require_least
from hetsearch.gallery.embedding.decode import Decoded, iter_decoded
from hetsearch.gallery.embedding.shards import Shard, recover_shard, write_shard
from hetsearch.gallery.manifest import Manifest, ShardEntry
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import Vectors

OnError = Literal["skip", "fail"]
Say = Callable[[str], None]  # takes a line for the person

Done = tuple[ShardEntry, tuple[Failure, ...]]  # a shard that is written, and what could not be read for it


def silent(line: str) -> None:
    """What a job says where nobody asked to hear it: nothing."""


def run_here(job: Embedding, missing: Sequence[int], tally: Tally) -> Iterator[tuple[int, Done]]:
    """Embed shards in this process, and give them as they are written. One is written while the next is embedded."""
    if not missing:
        return
    plan = job.manifest.plan
    stretches = (stretch for number in missing for stretch in plan.batches(plan.covered(number)))
    batches = iter_decoded(job.images, job.encoder.input, stretches, job.workers)
    with contextlib.closing(batches), ThreadPoolExecutor(1) as writer:
        pending: tuple[int, Future[Done]] | None = None
        for number in missing:
            counted = tally.watch(islice(batches, len(plan.batches(plan.covered(number)))))
            shard, missed = encode_shard(job.encoder, job.images, counted)
            if pending:
                yield pending[0], pending[1].result()
            pending = number, writer.submit(_write, job, number, shard, missed)
        if pending:
            yield pending[0], pending[1].result()


Runner = Callable[["Embedding", Sequence[int], "Tally"], Iterator[tuple[int, Done]]]  # see run_here


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
        runner: embeds the shards that are missing: :func:`run_here`, or on other machines.
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
    runner: Runner = run_here


@dataclass
class Tally:
    """Counts what a runner has read: moves the bar, and stops the job at too many images that cannot be read."""

    job: Embedding
    bar: Any
    failures: list[Failure] = field(default_factory=list)

    def take(self, images: int, failures: Iterable[Failure]) -> None:
        """Count images that were read or not.

        Raises:
            ImageError: too many were not.
        """
        self.failures += failures
        check_failures(self.job, self.failures)
        self.bar.update(images)

    def watch(self, batches: Iterable[Decoded]) -> Iterator[Decoded]:
        """Count batches as they pass."""
        for batch in batches:
            self.take(len(batch.rows), batch.failures)
            yield batch


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
    with tqdm(
        total=plan.rows, initial=images, desc="embed", unit="img", disable=None if job.progress else True
    ) as bar:
        tally = Tally(job, bar)
        tally.take(0, (failure for _, failures in done.values() for failure in failures))
        done.update(job.runner(job, missing, tally))
    ordered = [done[number] for number in sorted(done)]
    return Embedded(
        shards=tuple(entry for entry, _ in ordered),
        failures=tuple(failure for _, failures in ordered for failure in failures),
        reused=reused,
        images=plan.rows - images,
    )


def recovered(folder: Path, manifest: Manifest, say: Say = silent) -> dict[int, Done]:
    """The shards of a plan that a job before this one wrote, whole, by number."""
    found: dict[int, Done] = {}
    for number in range(manifest.plan.first, manifest.plan.first + manifest.plan.shards):
        try:
            shard = recover_shard(folder, number, manifest.job, manifest.dim)
        except DamagedArtifact as error:
            say(f"embedded again: {error}")
            continue
        if shard is not None:
            found[number] = shard
    return found


def require_counts(max_errors: int | None, workers: int | None) -> None:
    """Refuse what no job can take, before it does anything.

    Raises:
        UsageError: one of them is below 0.
    """
    require_least("max_errors", max_errors, 0)
    require_least("workers", workers, 0)


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


def encode_shard(
    encoder: Encoder, images: ImageSet, batches: Iterable[Decoded]
) -> tuple[Shard, tuple[Failure, ...]]:
    """Embed the batches of one shard; the pixels of each are let go at once.

    Returns:
        The shard, and the images that could not be read.
    """
    rows: list[int] = []
    vectors = [np.empty((0, encoder.dim), dtype=np.float32)]
    contents = [np.empty((0, DIGEST), np.uint8)]
    failures: list[Failure] = []
    for batch in batches:
        if batch.kept:
            vectors.append(encoder.encode_pixels(batch.pixels))
        rows += batch.kept
        contents.append(batch.contents)
        failures += batch.failures
    return describe(images, rows, np.concatenate(vectors), np.concatenate(contents)), tuple(failures)


def _write(job: Embedding, number: int, shard: Shard, failures: tuple[Failure, ...]) -> Done:
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
