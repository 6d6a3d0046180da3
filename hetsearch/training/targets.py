"""The gallery encoder's embeddings of the training images: computed once, cached, checksummed, tied to the space."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm import tqdm

from hetsearch.files import atomic_path, cache_root
from hetsearch.preprocess import Pixels
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import Vectors, fingerprint_of

BLOCK = 16_384  # images a file of the cache
CHUNK = 512  # images between two moves of the progress bar


def training_targets(encoder: Encoder, pixels: Pixels, *, mirrored: bool, limit: int | None) -> Vectors:
    """What a query encoder regresses to.

    Args:
        encoder: the gallery encoder.
        pixels: the training images in the gallery encoder's specification, ``uint8 (n, channels, size, size)``.
        mirrored: also embed the mirror images, which flip augmentation needs.
        limit: embed that many images, evenly spread; the others get rows of zeros ("unknown").

    Returns:
        ``float32 (2, n, dim)``: plain and mirrored; zeros where unknown.
    """
    chosen = np.arange(len(pixels)) if limit is None else _spread(len(pixels), limit)
    targets = np.zeros((2, len(pixels), encoder.dim), dtype=np.float32)
    targets[0, chosen] = cached_vectors(encoder, pixels[chosen])
    if mirrored:
        targets[1, chosen] = cached_vectors(encoder, np.ascontiguousarray(pixels[chosen][..., ::-1]))
    return targets


def cached_vectors(encoder: Encoder, pixels: Pixels) -> Vectors:
    """Embeddings of ``pixels``, from the cache where they are there and whole.

    The cache keeps a file for each ``BLOCK`` images, so that a job which is killed goes on at the block where it was.
    The name of a file is made from the space, the encoder's own vectors of the block's first images (so that another
    precision of one encoder gets its own file), and the pixels.
    """
    vectors = np.empty((len(pixels), encoder.dim), dtype=np.float32)
    with tqdm(total=len(pixels), desc="gallery encoder", unit="img", disable=None, file=sys.stderr) as bar:
        for start in range(0, len(pixels), BLOCK):
            block = pixels[start : start + BLOCK]
            probe = encoder.encode_pixels(block[:8])
            digest = hashlib.sha256(block.tobytes() + probe.tobytes()).hexdigest()
            path = cache_root() / "targets" / f"{encoder.space}-{digest[:24]}.safetensors"
            found = _read(path, encoder.space)
            if found is None or found.shape != (len(block), encoder.dim):
                if bar.disable:  # no bar without a terminal; a log tells at least what takes so long
                    told = f"{start:,} to {start + len(block):,} of {len(pixels):,}"
                    tqdm.write(f"embedding images with the gallery encoder, once: {told}", file=sys.stderr)
                found = _embed(encoder, block, bar)
                _write(path, encoder.space, found)
            else:
                bar.update(len(block))
            vectors[start : start + len(block)] = found
    return vectors


def _write(path: Path, space: str, vectors: Vectors) -> None:
    with atomic_path(path) as temporary:
        checksum = fingerprint_of({"vectors": vectors})
        save_file({"vectors": vectors}, temporary, metadata={"space": space, "checksum": checksum})


def _read(path: Path, space: str) -> Vectors | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            metadata, vectors = file.metadata() or {}, file.get_tensor("vectors")
    except SafetensorError:
        return None  # a damaged cache is computed again
    whole = metadata.get("space") == space and metadata.get("checksum") == fingerprint_of({"vectors": vectors})
    return vectors if whole else None


def _embed(encoder: Encoder, pixels: Pixels, bar: tqdm[Any]) -> Vectors:
    vectors = np.empty((len(pixels), encoder.dim), dtype=np.float32)
    for start in range(0, len(pixels), CHUNK):
        batch = pixels[start : start + CHUNK]
        vectors[start : start + len(batch)] = encoder.encode_pixels(batch)
        bar.update(len(batch))
    return vectors


def _spread(count: int, limit: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, count - 1, min(limit, count)).astype(np.int64))
