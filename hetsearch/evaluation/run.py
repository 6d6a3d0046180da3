"""Run encoders over a set of images: every encoder over every image, once."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hetsearch.bundle import EncoderCard
from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure, iter_pixels
from hetsearch.errors import DataError
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import Vectors, check_vectors

BATCH = 128  # images read and encoded at once


class CardedEncoder(Encoder, Protocol):
    """An encoder that knows its card, as one that was loaded from a bundle does."""

    @property
    def card(self) -> EncoderCard:
        """What ``encoder.json`` says."""


@dataclass(frozen=True)
class Embedded:
    """Images as one encoder sees them.

    Attributes:
        vectors: ``(n, dim)``, float32, unit rows.
        rows: ``(n,)``, position of each in the set of images, ascending.
        failures: images that could not be read, and why.
    """

    vectors: Vectors
    rows: NDArray[np.int64]
    failures: tuple[Failure, ...]


def embed(
    encoder: Encoder,
    images: ImageSet,
    *,
    batch_size: int = BATCH,
    progress: bool = True,
    name: str | None = None,
) -> Embedded:
    """Embed every readable image.

    Args:
        encoder: what embeds.
        images: what is embedded.
        batch_size: images read and encoded at once.
        progress: show a bar on stderr, where that is a terminal.
        name: what to call the encoder beside the bar.

    Raises:
        DataError: no image can be read, or the encoder gives vectors that are not of unit length.
    """
    title = name or encoder.name
    return _embed_alike({title: encoder}, images, batch_size=batch_size, progress=progress)[title]


def _embed_alike(
    encoders: Mapping[str, Encoder], images: ImageSet, *, batch_size: int = BATCH, progress: bool
) -> dict[str, Embedded]:
    """Embed with encoders that take the same form of a picture: each is read once."""
    spec = next(iter(encoders.values())).input
    failures: list[Failure] = []
    rows: list[int] = []
    parts: dict[str, list[Vectors]] = {name: [] for name in encoders}
    silent = None if progress else True  # None: tqdm asks whether stderr is a terminal
    with tqdm(total=len(images), desc=", ".join(encoders), unit="img", file=sys.stderr, disable=silent) as bar:
        for indices, pixels in iter_pixels(images, spec, batch_size, failures):
            for name, encoder in encoders.items():
                parts[name].append(encoder.encode_pixels(pixels))
            rows.extend(indices)
            bar.update(len(indices))
    if not rows:
        reason = failures[0].reason if failures else "it holds none"
        raise DataError(f"no image of '{images.name}' can be read", observed=reason)
    found = {}
    for name, encoder in encoders.items():
        vectors = np.concatenate(parts.pop(name))
        check_vectors(vectors, encoder.dim, what=f"the vectors of '{name}'")
        found[name] = Embedded(vectors, np.asarray(rows, dtype=np.int64), tuple(failures))
    return found


def embed_all(
    encoders: Mapping[str, Encoder], images: ImageSet, *, progress: bool = True
) -> tuple[dict[str, Vectors], ImageSet, tuple[Failure, ...]]:
    """Embed the images with each encoder, and keep those that every encoder could read.

    A picture is read once for all encoders that take the same form of it.

    Returns:
        Vectors by name, rows as in the returned set of images; that set; the images that were left out.
    """
    found: dict[str, Embedded] = {}
    for spec in dict.fromkeys(encoder.input for encoder in encoders.values()):
        alike = {name: encoder for name, encoder in encoders.items() if encoder.input == spec}
        found |= _embed_alike(alike, images, progress=progress)
    found = {name: found[name] for name in encoders}
    failures = {failure.key: failure for one in found.values() for failure in one.failures}
    if not failures:
        return {name: one.vectors for name, one in found.items()}, images, ()
    kept = [row for row, key in enumerate(images.keys) if key not in failures]
    if not kept:
        raise DataError(f"no image of '{images.name}' can be read by all encoders", expected="at least one")
    vectors = {name: one.vectors[np.isin(one.rows, kept)] for name, one in found.items()}
    return vectors, images.subset(kept), tuple(failures.values())
