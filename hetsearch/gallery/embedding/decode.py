"""Read and hash images ahead of the encoder, in worker processes or in the job's own."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.errors import ImageError
from hetsearch.gallery.embedding.pool import Source, in_order, source_of
from hetsearch.gallery.embedding.shards import DIGEST, Contents
from hetsearch.preprocess import ImageLike, InputSpec, Pixels, open_file, preprocess
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
    for rows, (kept, pixels, contents, failed) in in_order(images, stretches, _decode, (spec,), workers):
        failures = tuple(Failure(images.keys[rows[at]], reason) for at, reason in failed)
        yield Decoded(rows, tuple(rows[at] for at in kept), pixels, contents, failures)


def iter_contents(
    images: ImageSet, stretches: Iterable[range], workers: int
) -> Iterator[tuple[range, Contents, tuple[bool, ...]]]:
    """The SHA-256 of each image's file ``(n, 32)``, and whether the file could be read, stretch by stretch.

    Raises:
        HetsearchError: a worker died.
    """
    for rows, (contents, known) in in_order(images, stretches, _contents, (), workers):
        yield rows, contents, known


def content_of(source: ImageLike) -> bytes:
    """SHA-256 of an image's file; of what it holds, where there is no file.

    Raises:
        ImageError: the file cannot be read.
    """
    if isinstance(source, (str, Path)):
        with open_file(Path(source)) as file:
            try:
                return hashlib.file_digest(file, "sha256").digest()
            except OSError as error:
                raise ImageError(f"'{source}' cannot be read", observed=error.strerror) from None
    if isinstance(source, bytes):
        return hashlib.sha256(source).digest()
    if isinstance(source, Image.Image):
        return hashlib.sha256(f"{source.mode}|{source.size}|".encode() + source.tobytes()).digest()
    return hashlib.sha256(f"{source.dtype.str}|{source.shape}|".encode() + source.tobytes()).digest()


def _decode(
    sources: Sequence[Source], spec: InputSpec
) -> tuple[list[int], Pixels, Contents, list[tuple[int, str]]]:
    kept: list[int] = []
    failed: list[tuple[int, str]] = []
    pixels = np.empty((len(sources), spec.channels, spec.size, spec.size), dtype=np.uint8)
    contents = np.empty((len(sources), DIGEST), dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about tags: they would not even say which picture they mean
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
