"""A set of images: stable keys, a way to read each, and what is known about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError, nearest
from hetsearch.preprocess import ImageLike

COLUMNS = ("labels", "groups", "domains", "splits", "roles")


@dataclass(frozen=True)
class ImageSet:
    """Images by position, each with a key that stays the same.

    Attributes:
        name: ``fashion-mnist:test``, or the path of a folder or manifest.
        keys: unique and stable: what galleries and reports call the image.
        read: position → what :func:`hetsearch.preprocess.preprocess` takes (a path, or ``uint8`` pixels).
        labels: class name of each image.
        groups: images of one group are never each other's hits (the same photograph, the same scene). An empty
            string is no group.
        domains: where the image comes from (shop, consumer).
        splits: train, validation, test, or a manifest's own names.
        roles: ``query`` or ``gallery``.

    Raises:
        DataError: a column is of another length than ``keys``, or a key comes twice.
    """

    name: str
    keys: tuple[str, ...]
    read: Callable[[int], ImageLike]
    labels: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    domains: tuple[str, ...] | None = None
    splits: tuple[str, ...] | None = None
    roles: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for column in COLUMNS:
            values = getattr(self, column)
            if values is not None and len(values) != len(self.keys):
                raise DataError(
                    f"the {column} of '{self.name}' do not match its keys",
                    observed=len(values),
                    expected=len(self.keys),
                )
        if (repeated := first_repeated(self.keys)) is not None:
            raise DataError(
                f"a key of '{self.name}' comes twice", observed=f"'{repeated}'", expected="unique keys"
            )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def classes(self) -> tuple[str, ...]:
        """The distinct labels, sorted; empty without labels."""
        return tuple(sorted(set(self.labels or ())))

    def subset(self, indices: Sequence[int], name: str | None = None) -> ImageSet:
        """The images at ``indices``, in that order, under the same name if no other is given."""
        chosen = tuple(int(index) for index in indices)
        columns = {
            column: tuple(values[index] for index in chosen)
            for column in COLUMNS
            if (values := getattr(self, column)) is not None
        }
        keys = tuple(self.keys[index] for index in chosen)
        return ImageSet(name or self.name, keys, _Chosen(self.read, chosen), **columns)

    def select(self, column: Literal["splits", "roles"], value: str) -> ImageSet:
        """The images whose split or role is ``value``, in order.

        Raises:
            DataError: there is no such column, or no image has this value; the known values are named.
        """
        values: tuple[str, ...] | None = getattr(self, column)
        if values is None:
            raise DataError(
                f"'{self.name}' has no {column}",
                expected=f"a column '{column[:-1]}'",
                hint="Add it to the manifest.",
            )
        indices = [index for index, held in enumerate(values) if held == value]
        if not indices:
            raise DataError(
                f"no image of '{self.name}' has the {column[:-1]} '{value}'", hint=nearest(value, set(values))
            )
        return self.subset(indices, f"{self.name}:{value}")


# The ways of reading are classes, not closures, so that a set can be sent to another process.


@dataclass(frozen=True)
class PathReader:
    """Reads by path: position → ``paths[position]``, under ``root`` where there is one.

    Paths are text where there are many: a ``Path`` takes four times the memory, and under ``root`` they are the keys.
    """

    paths: tuple[Path, ...] | tuple[str, ...]
    root: Path | None = None

    def __call__(self, index: int) -> ImageLike:
        """The path at ``index``."""
        path = self.paths[index]
        return Path(path) if self.root is None else self.root / path


@dataclass(frozen=True)
class ArrayReader:
    """Reads from an array of pixels ``(n, height, width)`` or ``(n, height, width, 3)``, ``uint8``."""

    pixels: NDArray[np.uint8]

    def __call__(self, index: int) -> ImageLike:
        """The pixels at ``index``, not copied."""
        row: NDArray[np.uint8] = self.pixels[index]
        return row


@dataclass(frozen=True)
class _Chosen:
    read: Callable[[int], ImageLike]
    indices: tuple[int, ...]

    def __call__(self, index: int) -> ImageLike:
        return self.read(self.indices[index])


def first_repeated(keys: Sequence[str]) -> str | None:
    """The first key that was there before, or None."""
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None
