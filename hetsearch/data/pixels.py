"""From a set of images to arrays of pixels, in batches or all at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hetsearch.data.images import ImageSet
from hetsearch.errors import ImageError, UsageError
from hetsearch.preprocess import InputSpec, Pixels, preprocess


@dataclass(frozen=True)
class Failure:
    """One image that could not be read, and why: a row of ``failures.parquet``."""

    key: str
    reason: str


def iter_pixels(
    images: ImageSet, spec: InputSpec, batch_size: int, failures: list[Failure]
) -> Iterator[tuple[list[int], Pixels]]:
    """Read the images in order and yield them in full batches (the last may be smaller, none is empty).

    Args:
        images: what to read.
        spec: the form that the encoder takes.
        batch_size: images a batch, at least 1.
        failures: an unreadable image is left out of the batches and noted here.

    Yields:
        Positions in ``images``, and ``uint8 (batch, channels, size, size)``.

    Raises:
        UsageError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise UsageError("the batch size is wrong", observed=batch_size, expected="at least 1")
    return _batches(images, spec, batch_size, failures)


def load_pixels(images: ImageSet, spec: InputSpec) -> Pixels:
    """All images at once: ``uint8 (n, channels, size, size)``.

    Raises:
        ImageError: at the first image that cannot be read.
    """
    pixels = np.empty((len(images), spec.channels, spec.size, spec.size), dtype=np.uint8)
    for index in range(len(images)):
        pixels[index] = preprocess(images.read(index), spec)
    return pixels


def _batches(
    images: ImageSet, spec: InputSpec, batch_size: int, failures: list[Failure]
) -> Iterator[tuple[list[int], Pixels]]:
    indices: list[int] = []
    pixels: list[Pixels] = []
    for index, key in enumerate(images.keys):
        try:
            pixels.append(preprocess(images.read(index), spec))
        except ImageError as error:
            failures.append(Failure(key, str(error)))
            continue
        indices.append(index)
        if len(indices) == batch_size:
            yield indices, np.stack(pixels)
            indices, pixels = [], []
    if indices:
        yield indices, np.stack(pixels)
