"""Embed pictures as they come, without holding them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice

from hetsearch.errors import UsageError
from hetsearch.preprocess import ImageLike
from hetsearch.runtime import Encoder
from hetsearch.runtime.onnx_encoder import as_images, key_of
from hetsearch.space import Embeddings

BATCH = 64


def encode_stream(
    encoder: Encoder, images: ImageLike | Iterable[ImageLike], *, batch_size: int = BATCH
) -> Iterator[Embeddings]:
    """Embed pictures from any iterable, a batch at a time.

    Args:
        encoder: makes the vectors.
        images: paths, encoded bytes, Pillow images or ``uint8`` arrays; taken only as far as they are asked for. One
            alone is a stream of one.
        batch_size: pictures a batch, at least 1.

    Yields:
        ``(batch, dim)`` in the order of the pictures; the last may be smaller, none is empty. Keys are the text of a
        path, else the picture's place in the stream: ``"0"``, ``"1"``, …

    Raises:
        UsageError: ``batch_size`` is below 1, or these are no pictures.
        ImageError: a picture cannot be read; those of the batches before have been given.
    """
    if batch_size < 1:
        raise UsageError("the batch size is wrong", observed=batch_size, expected="at least 1")
    return _batches(encoder, iter(as_images(images)), batch_size)


def _batches(encoder: Encoder, images: Iterator[ImageLike], batch_size: int) -> Iterator[Embeddings]:
    for start in count(0, batch_size):
        batch = list(islice(images, batch_size))
        if not batch:
            return
        yield encoder.encode(batch, keys=[key_of(start + place, image) for place, image in enumerate(batch)])
