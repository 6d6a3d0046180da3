"""What a job that made a gallery reports."""

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
