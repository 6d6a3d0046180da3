"""What the tests of jobs share: an encoder that counts, spoils or is killed; a deadly picture; a folder's bytes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hetsearch.preprocess import InputSpec, Pixels
from hetsearch.runtime import OnnxEncoder
from hetsearch.space import Embeddings, Vectors


@dataclass
class Scripted:
    """An encoder that does as a test wants: it spoils vectors, or is 'killed' in the middle."""

    inner: OnnxEncoder
    die_at: int | None = None
    factor: float = 1.0
    calls: int = 0
    images: int = 0
    name: str = "scripted"

    @property
    def folder(self) -> Path:
        return self.inner.folder

    @property
    def space(self) -> str:
        return self.inner.space

    @property
    def dim(self) -> int:
        return self.inner.dim

    @property
    def input(self) -> InputSpec:
        return self.inner.input

    def encode(self, images: object, keys: object = None) -> Embeddings:
        raise AssertionError("a job reads its images itself")

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        self.calls += 1
        if self.calls == self.die_at:
            raise KeyboardInterrupt
        self.images += len(pixels)
        return self.inner.encode_pixels(pixels) * np.float32(self.factor)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Deadly:
    """It ends the process that receives it, as a picture may that meets a decoder's bug."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (9,)
