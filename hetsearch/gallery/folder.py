"""The folder of a gallery: who may write in it, which files in it are ours, and which of these nobody needs."""

from __future__ import annotations

import errno
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hetsearch.errors import HetsearchError, UsageError
from hetsearch.gallery.card import CARD, EMBEDDINGS, ITEMS, read_card
from hetsearch.gallery.manifest import MANIFEST
from hetsearch.gallery.omitted import FAILURES, TOMBSTONES
from hetsearch.gallery.stores.faiss_store import INDEX
from hetsearch.gallery.stores.milvus_collections import DATABASE

_TEMPORARY = r"\.(?:{names})\.\d+\.[0-9a-f]{{8}}\.tmp"  # as hetsearch.files names them
_SHARD = r"shard-\d{5,}\.parquet"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for one job. The lock is on the folder itself, so a killed job leaves none.

    Raises:
        UsageError: another job holds it.
        HetsearchError: the system let the job not go on, as on a full disk; the message says what is left.
    """
    with _locked(folder):
        try:
            yield
        except OSError as error:
            raise _stopped(folder, error) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(
            f"another job is at work in '{folder}'", hint="Wait until it has ended, or choose another folder."
        ) from None
    except OSError as error:  # NFS, for one, locks no folders
        warnings.warn(
            f"'{folder}' cannot be locked ({error.strerror}): see to it that no other job works in it", stacklevel=5
        )
    try:
        yield
    finally:
        os.close(descriptor)


def _stopped(folder: Path, error: OSError) -> HetsearchError:
    named = f"'{error.filename}': " if error.filename else ""
    whole = f"The gallery is whole, in generation {read_card(folder).generation}. " if (folder / CARD).exists() else ""
    cure = "Make room" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Mend that"
    return HetsearchError(
        f"the job in '{folder}' stopped",
        observed=named + (os.strerror(error.errno) if error.errno else str(error)),
        hint=f"{whole}{cure}, and the same command goes on from what is there.",
    )


def require_ours(out: Path) -> None:
    """Refuse to build into a folder that holds anything that no job wrote.

    Raises:
        UsageError: ``out`` is a file, or below one, or holds such a thing.
    """
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UsageError(f"'{there}' is not a folder", hint="Choose another --out.")
    if there != out:
        return
    found = [path for path, ours in _entries(out) if not ours]
    if found:
        raise UsageError(
            f"'{out}' is not empty and no gallery",
            observed=f"'{found[0].relative_to(out)}'",
            expected="a new or empty folder",
            hint="Choose another --out.",
        )


def sweep(out: Path, keep: frozenset[str]) -> None:
    """Remove what jobs left in the folder of a gallery: temporary files, and what belongs to other generations.

    Args:
        out: the folder.
        keep: relative names of what is needed. What no job wrote is kept as well.
    """
    for path, ours in _entries(out):
        if ours and path.relative_to(out).as_posix() not in keep:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _entries(out: Path) -> list[tuple[Path, bool]]:
    """What lies in the folder and in its folder of embeddings, and whether a job wrote it."""
    inner = out / EMBEDDINGS
    found = [
        (path, _is(path, DATABASE) if path.is_dir() else _written(path, (CARD, INDEX, ITEMS)))
        for path in out.iterdir()
        if path != inner
    ]
    if inner.is_dir():
        found += [(path, _written(path, (MANIFEST, FAILURES, TOMBSTONES), _SHARD)) for path in inner.iterdir()]
    elif inner.exists():
        found.append((inner, False))
    return sorted(found)


def _written(path: Path, names: tuple[str, ...], *patterns: str) -> bool:
    known = [_generations(name) for name in names]
    either = "|".join([*known, *patterns])
    return path.is_file() and re.fullmatch(f"{either}|{_TEMPORARY.format(names=either)}", path.name) is not None


def _is(path: Path, name: str) -> bool:
    return re.fullmatch(_generations(name), path.name) is not None


def _generations(name: str) -> str:
    """A pattern for what a file is called in any generation."""
    stem, _, suffix = name.partition(".")
    return rf"{re.escape(stem)}(?:-\d{{5,}})?\.{suffix}"
