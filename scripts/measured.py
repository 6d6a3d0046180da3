"""The images that a table reports on: embedded by an encoder, searched with its or another one's queries."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import load_pixels
from hetsearch.data.sides import Sides
from hetsearch.data.sources import open_source
from hetsearch.evaluation.run import embed
from hetsearch.evaluation.scores import Scores, score
from hetsearch.preprocess import InputSpec
from hetsearch.runtime import Encoder, load_encoder
from hetsearch.runtime.threads import available_threads
from hetsearch.space import Vectors
from hetsearch.training.targets import cached_vectors


class Measured:
    """One data set.

    Args:
        source: its name, as of a command.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.images: ImageSet = open_source(source)
        self.sides = Sides.of(self.images)

    def embed(self, encoder: Encoder | Path) -> Vectors:
        """The vectors of all images; of an exported bundle, on the threads that there are."""
        if isinstance(encoder, Path):
            encoder = load_encoder(encoder, threads=available_threads())
        return embed(encoder, self.images).vectors

    def score(self, query: Vectors, gallery: Vectors) -> Scores:
        """One cell of the matrix."""
        return score(self.sides.query(query), self.sides.gallery(gallery))


class Split(Measured):
    """One data set, embedded by the gallery encoder; once, as a training's images are.

    Args:
        source: its name, as of a command.
        gallery: the gallery encoder.
    """

    def __init__(self, source: str, gallery: Encoder) -> None:
        super().__init__(source)
        self.heavy = cached_vectors(gallery, load_pixels(self.images, gallery.input))

    @cached_property
    def paragon(self) -> Scores:
        """M(g, g)."""
        return self.score(self.heavy, self.heavy)


def raw_pixels(images: ImageSet) -> Vectors:
    """16 × 16 pixels as a vector, centred and of unit length: what any network has to beat."""
    spec = InputSpec(size=16, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    flat = load_pixels(images, spec).reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    flat[lengths[:, 0] == 0, 0] = 1.0  # a picture of one colour
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return flat
