"""What the scripts share that disturb gallery jobs: the jobs, their pictures, and what is left of them.

The jobs are ``build``, ``update``, ``delete``, ``compact``, ``upgrade``, ``backfill`` in two steps, ``rollback``, one
after the other on one gallery. The newer encoder is made up: the one that is given, with one component mirrored.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hetsearch.data.images import ImageSet
from hetsearch.data.sources import open_source
from hetsearch.errors import UsageError
from hetsearch.gallery import (
    backfill_gallery,
    build_gallery,
    compact_gallery,
    delete_items,
    open_gallery,
    rollback_upgrade,
    update_gallery,
    upgrade_gallery,
)
from hetsearch.gallery.card import read_card
from hetsearch.preprocess import Pixels, open_image
from hetsearch.runtime import Encoder
from hetsearch.space import Embeddings, EmbeddingSpace, Vectors

JOBS = ("build", "update", "delete", "compact", "upgrade", "backfill", "rollback")
BEFORE, AFTER = "before", "after"
FACTORY = "IVF16,SQ8"


class Wrapped:
    """An encoder that is as the one inside in all that it does not say itself."""

    def __init__(self, inner: Encoder) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Counting(Wrapped):
    """It counts the images that it embeds."""

    images = 0

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed and count."""
        self.images += len(pixels)
        return self._inner.encode_pixels(pixels)


class Newer(Wrapped):
    """It mirrors one component, and is of a space of its own, which declares the other one."""

    space = "sp_00000000000000ff"

    @property
    def declared(self) -> EmbeddingSpace:
        """Its space."""
        record = {"space": self._inner.space, "compatible": {"map": None}}
        return EmbeddingSpace(self.space, self._inner.dim, "f" * 64, compatible_with=(record,))

    def encode(self, images: Any, keys: Any = None) -> Embeddings:
        """Embed pictures."""
        found = self._inner.encode(images, keys)
        return Embeddings(_mirrored(found.vectors), self.space, found.keys)

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed."""
        return _mirrored(self._inner.encode_pixels(pixels))


def _mirrored(vectors: Vectors) -> Vectors:
    return np.concatenate([vectors[:, :-1], -vectors[:, -1:]], axis=1)


def run_job(job: str, work: Path, out: Path, encoder: Encoder, shard_rows: int, workers: int) -> Any:
    """Do one of the jobs; its report comes back."""
    if job == "build":
        images = open_source(str(work / "before.csv"))
        return build_gallery(
            encoder, images, out, factory=FACTORY, shard_rows=shard_rows, workers=workers, progress=False
        )
    if job == "update":
        return update_gallery(out, encoder, open_source(str(work / "after.csv")), workers=workers, progress=False)
    if job == "delete":
        return delete_items(out, [f"key {row:06d}" for row in range(0, 40, 3)])
    if job == "compact":
        return compact_gallery(out)
    if job == "rollback":
        try:
            return rollback_upgrade(out)
        except UsageError:
            if read_card(out).former is not None:
                raise
            return None  # it was done before the kill, and now it is tidied up
    newer = Newer(encoder)
    if job == "upgrade":
        return upgrade_gallery(out, newer, newer.declared)
    images = open_source(str(work / "after.csv"))
    return backfill_gallery(out, newer, images, step=len(images) // 2, workers=workers, progress=False)


def make_listings(images: ImageSet, limit: int, work: Path) -> None:
    """Pictures as files, and two listings of them: what there was, and what there is.

    Of a hundred, five are new, five have another picture, five another key, five are gone; one in fifty cannot be read.
    """
    folder = work / "pictures"
    folder.mkdir(parents=True)
    count = min(limit, len(images))
    for row in range(count):
        path = folder / f"{row:06d}.png"
        if row % 50 == 33:
            path.write_bytes(b"no picture")
        else:
            open_image(images.read(row)).save(path)
    before, after = [], []
    for row in range(count):
        kind, line = row % 20, [f"key {row:06d}", f"pictures/{row:06d}.png"]
        if kind != 1:
            before.append(line)
        if kind == 2:
            # The same file with one more byte behind its end: another hash, the same picture.
            (folder / f"{row:06d}-2.png").write_bytes((folder / f"{row:06d}.png").read_bytes() + b"\n")
            after.append([line[0], f"pictures/{row:06d}-2.png"])
        elif kind == 3:
            after.append([f"renamed {row:06d}", line[1]])
        elif kind != 4:
            after.append(line)
    for name, lines in (("before.csv", before), ("after.csv", after)):
        with (work / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["key", "path"], *lines])


@contextmanager
def renames(at: int = 0, moment: str = BEFORE, act: Callable[[], None] = lambda: None) -> Iterator[list[int]]:
    """Count the renames, by which every file of a gallery takes its name; ``act`` before or after one of them."""
    rename, count = os.replace, [0]

    def counted(*arguments: Any) -> None:
        count[0] += 1
        if count[0] == at and moment == BEFORE:
            act()
        rename(*arguments)
        if count[0] == at and moment == AFTER:
            act()

    os.replace = counted  # type: ignore[assignment]
    try:
        yield count
    finally:
        os.replace = rename


def opens(out: Path) -> tuple[int, int]:
    """Generation and items that somebody finds who opens the gallery now; 0 and 0 of an unfinished one."""
    try:
        gallery = open_gallery(out)
    except UsageError:
        return 0, 0
    return gallery.card.generation, len(gallery)


def differences(whole: Path, out: Path) -> list[str]:
    """The files of which two folders differ."""
    expected, found = _files(whole), _files(out)
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} is left" for name in found if name not in expected]
    return wrong + [f"{name} differs" for name in expected if name in found and found[name] != expected[name]]


def _files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
