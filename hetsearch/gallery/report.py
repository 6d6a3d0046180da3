"""What jobs report that make a gallery or change one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hetsearch.data.pixels import Failure


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


def folder_bytes(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
