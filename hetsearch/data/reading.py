"""Read and hash images: what a worker process does, in a module that imports no more than that needs."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hetsearch.errors import ImageError
from hetsearch.preprocess import ImageLike, InputSpec, Pixels, open_file, preprocess

DIGEST = 32  # bytes of a SHA-256

Contents: TypeAlias = NDArray[np.uint8]  # (n, 32): SHA-256 of each image's file
Source: TypeAlias = "ImageLike | ImageError"  # what a set gives for an image, or why it gives nothing


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


def read_images(
    sources: Sequence[Source], spec: InputSpec
) -> tuple[list[int], Pixels, Contents, list[tuple[int, str]]]:
    """The places that could be read, their pixels ``(kept, channels, size, size)``, their files' SHA-256, and the
    other places with the reason.
    """
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


def read_contents(sources: Sequence[Source]) -> tuple[Contents, tuple[bool, ...]]:
    """The SHA-256 of each file ``(n, 32)``, and whether it could be read."""
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
