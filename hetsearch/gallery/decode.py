"""Read images ahead of the encoder, in worker processes: decoding a picture keeps a core busy, and Python has one.

The listing stays in the job's own process; a worker gets the paths (or pixels) of a few images at a time. Results come
in the order of the listing, and only a few batches are ahead, so memory does not depend on how many images there are.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from PIL import Image

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.errors import HetsearchError, ImageError, UsageError
from hetsearch.gallery.shards import DIGEST, Contents
from hetsearch.preprocess import ImageLike, InputSpec, Pixels, open_image, preprocess
from hetsearch.runtime.threads import available_threads

FEW = 512  # images that are not worth the start of a process

Source: TypeAlias = "ImageLike | ImageError"  # what a set gives for an image, or why it gives nothing
Result = TypeVar("Result")


@dataclass(frozen=True)
class Decoded:
    """Images that were read, of one stretch of a listing.

    Attributes:
        rows: the stretch: positions in the listing.
        kept: the positions of those that could be read.
        pixels: theirs, ``uint8 (kept, channels, size, size)``.
        contents: the SHA-256 of each one's file, ``(kept, 32)``.
        failures: the others, with the reason.
    """

    rows: range
    kept: tuple[int, ...]
    pixels: Pixels
    contents: Contents
    failures: tuple[Failure, ...]


def default_workers(images: ImageSet) -> int:
    """Worker processes for a job: half the cores, the encoder needs the others; none where it would not pay.

    Pictures that are pixels already, and few pictures, are read in the job's own process.
    """
    if len(images) < FEW or not isinstance(source_of(images, 0), (str, Path, bytes)):
        return 0
    return max(1, available_threads() // 2)


def iter_decoded(
    images: ImageSet, spec: InputSpec, stretches: Iterable[range], workers: int
) -> Generator[Decoded, None, None]:
    """Read stretches of a listing, in order.

    Args:
        images: what to read.
        spec: the form that the encoder takes.
        stretches: positions; one stretch is read by one worker.
        workers: processes that read; 0 reads here.

    Raises:
        HetsearchError: a worker died; the message names the images that it may have been at.
    """
    for rows, (kept, pixels, contents, failed) in _in_order(images, stretches, _decode, (spec,), workers):
        failures = tuple(Failure(images.keys[rows[at]], reason) for at, reason in failed)
        yield Decoded(rows, tuple(rows[at] for at in kept), pixels, contents, failures)


def iter_contents(
    images: ImageSet, stretches: Iterable[range], workers: int
) -> Iterator[tuple[range, Contents, tuple[bool, ...]]]:
    """The SHA-256 of each image's file ``(n, 32)``, and whether the file could be read, stretch by stretch.

    Raises:
        HetsearchError: a worker died.
    """
    for rows, (contents, known) in _in_order(images, stretches, _contents, (), workers):
        yield rows, contents, known


def content_of(source: ImageLike) -> bytes:
    """SHA-256 of an image's file; of what it holds, where there is no file.

    Raises:
        ImageError: the file cannot be read.
    """
    if isinstance(source, (str, Path)):
        try:
            with Path(source).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            open_image(source)  # says it in the words of every other command
            raise ImageError(f"'{source}' cannot be read", observed=error.strerror) from None
    if isinstance(source, bytes):
        return hashlib.sha256(source).digest()
    if isinstance(source, Image.Image):
        return hashlib.sha256(f"{source.mode}|{source.size}|".encode() + source.tobytes()).digest()
    return hashlib.sha256(f"{source.dtype.str}|{source.shape}|".encode() + source.tobytes()).digest()


def source_of(images: ImageSet, row: int) -> Source:
    """What a set gives for an image, or the error that it raises instead."""
    try:
        return images.read(row)
    except ImageError as error:
        return error


def _decode(
    sources: Sequence[Source], spec: InputSpec
) -> tuple[list[int], Pixels, Contents, list[tuple[int, str]]]:
    kept: list[int] = []
    failed: list[tuple[int, str]] = []
    pixels = np.empty((len(sources), spec.channels, spec.size, spec.size), dtype=np.uint8)
    contents = np.empty((len(sources), DIGEST), dtype=np.uint8)
    for at, source in enumerate(sources):
        try:
            if isinstance(source, ImageError):
                raise source
            # The hash first: a file that is changed in between is found to have changed at the next update.
            contents[len(kept)] = np.frombuffer(content_of(source), np.uint8)
            pixels[len(kept)] = preprocess(source, spec)
        except ImageError as error:
            failed.append((at, str(error)))
        else:
            kept.append(at)
    return kept, pixels[: len(kept)], contents[: len(kept)], failed


def _contents(sources: Sequence[Source]) -> tuple[Contents, tuple[bool, ...]]:
    contents = np.zeros((len(sources), DIGEST), dtype=np.uint8)
    known = []
    for at, source in enumerate(sources):
        try:
            if isinstance(source, ImageError):
                raise source
            contents[at] = np.frombuffer(content_of(source), np.uint8)
        except ImageError:
            known.append(False)
        else:
            known.append(True)
    return contents, tuple(known)


def _in_order(
    images: ImageSet,
    stretches: Iterable[range],
    function: Callable[..., Result],
    arguments: tuple[object, ...],
    workers: int,
) -> Iterator[tuple[range, Result]]:
    if workers < 0:
        raise UsageError("the number of workers is wrong", observed=workers, expected="0 or more")
    tasks = ((rows, [source_of(images, row) for row in rows]) for rows in stretches)
    if not workers:
        for rows, sources in tasks:
            yield rows, function(sources, *arguments)
        return
    # Not fork: a copy of a process whose encoder and index have threads may hang.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start)
    waiting: deque[tuple[range, Future[Result]]] = deque()
    try:
        for rows, sources in tasks:
            waiting.append((rows, pool.submit(function, sources, *arguments)))
            if len(waiting) > 2 * workers:
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    except BrokenProcessPool:
        lost = [rows for rows, future in waiting if not future.done() or future.exception() is not None]
        raise _dead_worker(images, lost or [rows], workers) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _first(waiting: deque[tuple[range, Future[Result]]]) -> tuple[range, Result]:
    rows, future = waiting[0]
    result = future.result()
    waiting.popleft()
    return rows, result


def _dead_worker(images: ImageSet, stretches: list[range], workers: int) -> HetsearchError:
    # A pool hands out one stretch more than it has workers; the images that killed one are among these.
    suspects = stretches[: workers + 1]
    first, last = images.keys[suspects[0][0]], images.keys[suspects[-1][-1]]
    return HetsearchError(
        "a worker process died while it read images",
        observed=f"among the {sum(map(len, suspects)):,} images '{first}' to '{last}'",
        expected="images that can be decoded in the memory there is",
        hint="What was embedded before is kept, and the same command goes on from there. Fewer '--workers' need less "
        "memory; 0 reads the images in the job's own process.",
    )


def _start() -> None:
    """What a worker does first: leave Ctrl-C to the job, and end when the job is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_job, daemon=True).start()


def _end_with_job() -> None:
    job = multiprocessing.parent_process()
    if job is not None:
        job.join()
        os._exit(1)  # a worker would wait for ever for a task that nobody sends
