"""What the tests of jobs share: an encoder that counts, spoils or is killed; a deadly picture; a folder's bytes."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hetsearch.files import sha256_of
from hetsearch.gallery.card import read_card, write_card
from hetsearch.preprocess import Pixels
from hetsearch.runtime import OnnxEncoder
from hetsearch.space import Vectors


@dataclass
class Scripted:
    """An encoder that does as a test wants: it spoils vectors, or is 'killed' in the middle."""

    inner: OnnxEncoder
    die_at: int | None = None
    factor: float = 1.0
    calls: int = 0
    images: int = 0
    name: str = "scripted"

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

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


@dataclass(frozen=True)
class DeadlyOnce:
    """It ends the first process that receives it, as where there is no memory for a moment; then it is a picture."""

    flag: Path
    picture: object

    def __reduce__(self) -> tuple[object, ...]:
        return _survive_or_not, (self.flag, self.picture)


def _survive_or_not(flag: Path, picture: object) -> object:
    if not flag.exists():
        flag.touch()
        os._exit(9)
    return picture


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file can grow beyond so many bytes, as on a disk that is full: the system refuses the write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def reseal(folder: Path) -> None:
    """Write the present checksums into gallery.json, as a job would that had written the present files."""
    card = read_card(folder)
    files = {name: sha256_of(folder / name) for name in card.files}
    sizes = {name: (folder / name).stat().st_size for name in card.sizes}
    write_card(folder, card.model_copy(update={"files": files, "sizes": sizes}))
