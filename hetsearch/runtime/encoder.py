"""What every encoder can do, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hetsearch.preprocess import ImageLike, InputSpec, Pixels
from hetsearch.space import Embeddings, Vectors


class Encoder(Protocol):
    """Images to unit vectors of one space. Exchangeable: ONNX Runtime here, torch on a GPU for large jobs."""

    @property
    def name(self) -> str:
        """A short name for people: the bundle's folder."""

    @property
    def space(self) -> str:
        """Id of the space that the vectors lie in."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def input(self) -> InputSpec:
        """What the encoder takes."""

    def encode(
        self, images: ImageLike | Sequence[ImageLike], keys: Sequence[str] | None = None
    ) -> Embeddings:
        """Embed one picture or many, ``(n, dim)``, with their keys and their space."""

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed pictures that are preprocessed: ``uint8 (n, C, S, S)`` to ``float32 (n, dim)``, unit rows."""
