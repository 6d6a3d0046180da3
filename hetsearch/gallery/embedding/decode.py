"""Images read and hashed ahead of the encoder, in worker processes or in the job's own."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.data.reading import Contents, read_contents, read_images
from hetsearch.gallery.embedding.pool import in_order, source_of
from hetsearch.preprocess import InputSpec, Pixels
from hetsearch.runtime.threads import available_threads

FEW = 512  # images that are not worth the start of a process


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
        HetsearchError: a worker died, and no single image makes it die; see :mod:`hetsearch.gallery.embedding.pool`.
    """
    for rows, (kept, pixels, contents, failed) in in_order(images, stretches, read_images, (spec,), workers):
        failures = tuple(Failure(images.keys[rows[at]], reason) for at, reason in failed)
        yield Decoded(rows, tuple(rows[at] for at in kept), pixels, contents, failures)


def iter_contents(
    images: ImageSet, stretches: Iterable[range], workers: int
) -> Iterator[tuple[range, Contents, tuple[bool, ...]]]:
    """The SHA-256 of each image's file ``(n, 32)``, and whether the file could be read, stretch by stretch.

    Raises:
        HetsearchError: a worker died.
    """
    for rows, (contents, known) in in_order(images, stretches, read_contents, (), workers):
        yield rows, contents, known
