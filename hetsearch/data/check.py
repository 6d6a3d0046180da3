"""Look at every image of a source once: what can be read, how large it is, what comes twice."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.errors import ImageError
from hetsearch.preprocess import ImageLike, open_image


@dataclass(frozen=True)
class Extent:
    """The size of one image, in pixels."""

    key: str
    width: int
    height: int


@dataclass(frozen=True)
class CheckReport:
    """What is in a source.

    Attributes:
        source: its name.
        n_images: how many it lists.
        classes: label → count, by name; None without labels.
        splits: split → count; None without splits. ``roles`` and ``domains`` likewise.
        n_groups: how many groups; None without groups.
        smallest: the readable image of the fewest pixels; the first of equals.
        largest: that of the most.
        unreadable: key and reason.
        duplicates: keys whose files hold the same bytes (or whose pixels do, where there are no files).
    """

    source: str
    n_images: int
    classes: dict[str, int] | None
    splits: dict[str, int] | None
    roles: dict[str, int] | None
    domains: dict[str, int] | None
    n_groups: int | None
    smallest: Extent | None
    largest: Extent | None
    unreadable: tuple[Failure, ...]
    duplicates: tuple[tuple[str, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as one JSON document."""
        document = dict(vars(self))
        for name in ("smallest", "largest"):
            document[name] = None if document[name] is None else vars(document[name])
        document["unreadable"] = [vars(failure) for failure in self.unreadable]
        document["duplicates"] = [list(keys) for keys in self.duplicates]
        return document


def check(images: ImageSet) -> CheckReport:
    """Decode every image of ``images``, one at a time, and count."""
    extents: list[Extent] = []
    failures: list[Failure] = []
    contents: dict[str, list[str]] = {}
    for index, key in enumerate(images.keys):
        source = images.read(index)
        try:
            extents.append(Extent(key, *open_image(source).size))
            contents.setdefault(_content_hash(source), []).append(key)
        except ImageError as error:
            failures.append(Failure(key, str(error)))
    return CheckReport(
        source=images.name,
        n_images=len(images),
        classes=_counts(images.labels),
        splits=_counts(images.splits),
        roles=_counts(images.roles),
        domains=_counts(images.domains),
        n_groups=None if images.groups is None else len(set(images.groups) - {""}),
        smallest=min(extents, key=_area, default=None),
        largest=max(extents, key=_area, default=None),
        unreadable=tuple(failures),
        duplicates=tuple(tuple(keys) for keys in contents.values() if len(keys) > 1),
    )


def _area(extent: Extent) -> int:
    return extent.width * extent.height


def _counts(values: Iterable[str] | None) -> dict[str, int] | None:
    return None if values is None else dict(sorted(Counter(values).items()))


def _content_hash(source: ImageLike) -> str:
    if isinstance(source, np.ndarray):
        # Two shapes can hold the same bytes.
        return hashlib.sha256(f"{source.shape}".encode() + source.tobytes()).hexdigest()
    if isinstance(source, (str, Path)):
        source = Path(source).read_bytes()
    elif not isinstance(source, bytes):
        source = f"{source.mode} {source.size}".encode() + source.tobytes()
    return hashlib.sha256(source).hexdigest()
