"""What jobs report that make a gallery or change one."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hetsearch.data.pixels import Failure
from hetsearch.gallery.card import GalleryCard
from hetsearch.gallery.choosing.choice import Choice


@dataclass(frozen=True)
class BuildReport:
    """What a job did.

    Attributes:
        gallery: the folder.
        space: id of the space.
        encoder: name of the encoder that made the vectors.
        store: kind of store, and its ``factory`` string.
        rows: vectors in the gallery.
        failures: images that could not be read (also in ``failures.parquet``).
        seconds: of this call.
        bytes: of all files of the gallery.
        done_before: the gallery was finished already, and nothing was done.
        shards: that the images were cut into.
        reused: of these, written by a run before that was killed.
        embedded: images that this run read.
        choice: how the factory was chosen, where ``auto`` was asked for.
    """

    gallery: Path
    space: str
    encoder: str
    store: str
    factory: str
    rows: int
    failures: tuple[Failure, ...]
    seconds: float
    bytes: int
    done_before: bool = False
    shards: int = 0
    reused: int = 0
    embedded: int = 0
    choice: Choice | None = None

    @property
    def images_per_second(self) -> float | None:
        """Images read, embedded and indexed in a second of this run; None where none was read."""
        return self.embedded / max(self.seconds, 1e-9) if self.embedded else None

    @property
    def exit_code(self) -> int:
        """3 if an image could not be read, else 0."""
        return 3 if self.failures else 0

    def as_dict(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {
            **vars(self),
            "gallery": str(self.gallery),
            "failures": [vars(failure) for failure in self.failures],
            "images_per_second": self.images_per_second,
            "choice": None if self.choice is None else self.choice.as_dict(),
        }


@dataclass(frozen=True)
class UpdateReport:
    """What a job did to a gallery.

    Attributes:
        gallery: the folder.
        space: id of the space.
        generation: that the gallery is in now.
        rows: items that it holds now.
        new: keys that came.
        changed: items whose picture is another.
        renamed: pictures that are there under another key.
        described: items of which only label, group, domain or path is another.
        removed: items that went.
        unchanged: items that stayed as they were.
        kept: images that could not be read and keep the vector that they had.
        failures: images that could not be read (also in ``failures.parquet``).
        to_embed: pictures that the gallery did not know.
        embedded: of these, in this run.
        reused: shards of them that were there from a run before that was killed.
        copied: vectors that were there already and got another key or description.
        absent: keys that were to be deleted and are not there.
        nothing: there was nothing to do.
        dry_run: nothing was done, only said.
        seconds: of this call.
        bytes: of all files of the gallery.
    """

    gallery: Path
    space: str
    generation: int
    rows: int
    new: int = 0
    changed: int = 0
    renamed: int = 0
    described: int = 0
    removed: int = 0
    unchanged: int = 0
    kept: int = 0
    failures: tuple[Failure, ...] = ()
    to_embed: int = 0
    embedded: int = 0
    reused: int = 0
    copied: int = 0
    absent: tuple[str, ...] = ()
    nothing: bool = False
    dry_run: bool = False
    seconds: float = 0.0
    bytes: int = 0

    @property
    def line(self) -> str:
        """One line that counts everything."""
        counts = {
            "new": self.new, "changed": self.changed, "renamed": self.renamed, "described anew": self.described,
            "removed": self.removed, "failed": len(self.failures), "unchanged": self.unchanged,
        }  # fmt: skip
        return ", ".join(f"{count:,} {name}" for name, count in counts.items())

    @property
    def exit_code(self) -> int:
        """3 if an image could not be read, else 0."""
        return 3 if self.failures else 0

    def as_dict(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {**vars(self), "gallery": str(self.gallery), "failures": [vars(failure) for failure in self.failures]}


@dataclass(frozen=True)
class CompactReport:
    """What compacting a gallery did.

    Attributes:
        gallery: the folder.
        space: id of the space.
        generation: that the gallery is in now.
        rows: items that it holds.
        dropped: rows of shards that no longer counted.
        shards_before: how many shards there were.
        nothing: there was nothing to do.
        seconds: of this call.
        bytes_before: of all files of the gallery before.
        bytes: after.
    """

    gallery: Path
    space: str
    generation: int
    rows: int
    dropped: int
    shards_before: int
    nothing: bool
    seconds: float
    bytes_before: int
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {**vars(self), "gallery": str(self.gallery)}


@dataclass(frozen=True)
class UpgradeReport:
    """What an upgrade, a step of its back-fill, its way back or its settlement did.

    Attributes:
        gallery: the folder.
        space: id of the space that queries must come from now.
        former: the space that it can be rolled back to; None where it cannot.
        generation: that the gallery is in now.
        rows: items that it holds now.
        spaces: items by the space of their vector.
        declared: what the new space says of each older one, where it was put in front now.
        to_embed: items that this call was to embed again.
        embedded: images that it read.
        reused: shards of them that were there from a run before that was killed.
        switches: generations that it made on the way.
        absent: items of an older space whose pictures were not listed.
        failures: images that could not be read in this call (also in ``failures.parquet``).
        restored: items that took their older vector back.
        lost: items that left, because they have no older vector.
        nothing: there was nothing to do.
        dry_run: nothing was done, only said.
        seconds: of this call.
        bytes: of all files of the gallery.
    """

    gallery: Path
    space: str
    former: str | None
    generation: int
    rows: int
    spaces: dict[str, int]
    declared: dict[str, Any] = field(default_factory=dict)
    to_embed: int = 0
    embedded: int = 0
    reused: int = 0
    switches: int = 0
    absent: int = 0
    failures: tuple[Failure, ...] = ()
    restored: int = 0
    lost: int = 0
    nothing: bool = False
    dry_run: bool = False
    seconds: float = 0.0
    bytes: int = 0

    @classmethod
    def of(cls, gallery: Path, card: GalleryCard, begin: float, **facts: Any) -> UpgradeReport:
        """The report on a gallery that is in the state of ``card``; ``begin`` is the counter at the call's start."""
        return cls(
            gallery=gallery, space=card.space, former=card.former.space if card.former else None,
            generation=card.generation, rows=card.count, spaces=card.spaces or {card.space: card.count},
            seconds=time.perf_counter() - begin, bytes=folder_bytes(gallery), **facts,
        )  # fmt: skip

    @property
    def share(self) -> float:
        """Share of the items whose vector is of the gallery's own space."""
        return self.spaces.get(self.space, 0) / self.rows

    @property
    def exit_code(self) -> int:
        """3 if an image could not be read, else 0."""
        return 3 if self.failures else 0

    def as_dict(self) -> dict[str, Any]:
        """The report as a JSON document."""
        more = {"gallery": str(self.gallery), "failures": [vars(failure) for failure in self.failures]}
        return {**vars(self), **more, "share": self.share}


def folder_bytes(folder: Path) -> int:
    """The bytes of all files in a folder; one that another job removes meanwhile has none."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total
