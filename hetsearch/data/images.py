"""A set of images: stable keys, a way to read each, and what is known about them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.texts import first_repeated, take
from hetsearch.errors import DataError, nearest
from hetsearch.preprocess import ImageLike

COLUMNS = ("labels", "groups", "domains", "splits", "roles")


@dataclass(frozen=True)
class ImageSet:
    """Images by position, each with a key that stays the same.

    Columns are tuples, or :class:`hetsearch.data.texts.Texts` where there are many images; read them in order.

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
    keys: Sequence[str]
    read: Callable[[int], ImageLike]
    labels: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    domains: Sequence[str] | None = None
    splits: Sequence[str] | None = None
    roles: Sequence[str] | None = None

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
        chosen = indices if isinstance(indices, range) else array("q", map(int, indices))
        columns = {
            column: take(values, chosen) for column in COLUMNS if (values := getattr(self, column)) is not None
        }
        return ImageSet(name or self.name, take(self.keys, chosen), _Chosen(self.read, chosen), **columns)

    def select(self, column: Literal["splits", "roles"], value: str) -> ImageSet:
        """The images whose split or role is ``value``, in order.

        Raises:
            DataError: there is no such column, or no image has this value; the known values are named.
        """
        values: Sequence[str] | None = getattr(self, column)
        if values is None:
            raise DataError(
                f"'{self.name}' has no {column}",
                expected=f"a column '{column[:-1]}'",
                hint="Add it to the manifest.",
            )
        indices = array("q", (index for index, held in enumerate(values) if held == value))
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

    paths: Sequence[Path] | Sequence[str]
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
    indices: Sequence[int]

    def __call__(self, index: int) -> ImageLike:
        return self.read(self.indices[index])
