"""What the commands that run a gallery's jobs share: opening what they are given, and telling what went on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hetsearch.cli.console import say

if TYPE_CHECKING:
    from hetsearch.data import Failure, ImageSet
    from hetsearch.runtime import Encoder

SHOWN = 10  # unreadable images that are written out; failures.parquet has all


def loaded(encoder: Path, threads: int | None) -> Encoder:
    """An encoder bundle; None takes every core."""
    from hetsearch.runtime import load_encoder
    from hetsearch.runtime.threads import available_threads

    return load_encoder(encoder, threads=available_threads() if threads is None else threads)


def opened(images: str) -> ImageSet:
    """A set of images, from how a user names it."""
    from hetsearch.data.sources import open_source

    return open_source(images)


def said(line: str) -> None:
    """Say what a job says."""
    say(f"hetsearch: {line}")


@contextmanager
def warnings_said() -> Iterator[None]:
    """Warnings as lines of ours, also where the job then fails."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        finally:
            for warning in caught:
                say(f"hetsearch: warning: {warning.message}")


def show_failures(failures: Sequence[Failure]) -> None:
    """Say which images could not be read."""
    for failure in failures[:SHOWN]:
        say(f"hetsearch: not read: {failure.key}: {failure.reason}")
    if len(failures) > SHOWN:
        say(f"hetsearch: … and {len(failures) - SHOWN:,} more in embeddings/failures.parquet")
