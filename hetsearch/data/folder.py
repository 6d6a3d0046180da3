"""A folder of images. Class sub-folders become labels."""

from __future__ import annotations

import os
import sys
from collections import deque
from pathlib import Path

from hetsearch.data.images import ImageSet, PathReader
from hetsearch.data.texts import texts
from hetsearch.errors import DataError
from hetsearch.preprocess import IMAGE_SUFFIXES


def open_folder(folder: Path) -> ImageSet:
    """Every image under ``folder``, by its relative path.

    A file counts if it has an image suffix, in any case; hidden files and folders are left out. If every
    image lies in a sub-folder, the first folder of its path is its label. Links are followed; each folder is
    listed once, so a link into a folder above ends there.

    Args:
        folder: an existing folder.

    Returns:
        The images, sorted by key: the path relative to ``folder``, with ``/``.

    Raises:
        DataError: no image, a folder that may not be listed, or a name that is not UTF-8.
    """
    keys, others = _listing(folder)
    if not keys:
        raise DataError(
            f"the folder '{folder}' holds no images",
            observed=f"{others:,} other file(s)",
            expected=f"files that end in {', '.join(sorted(IMAGE_SUFFIXES))}",
        )
    # One text a class, not one an image.
    labels = texts(sys.intern(key.split("/", 1)[0]) for key in keys) if all("/" in key for key in keys) else None
    names = texts(keys)
    return ImageSet(str(folder), names, PathReader(names, folder), labels)


def _listing(root: Path) -> tuple[list[str], int]:
    keys: list[str] = []
    others = 0
    seen: set[tuple[int, int]] = set()
    waiting = deque([root])
    while waiting:
        folder = waiting.popleft()
        try:
            status = folder.stat()
            if (identity := (status.st_dev, status.st_ino)) in seen:
                continue
            seen.add(identity)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"the folder '{folder}' cannot be listed", observed=error.strerror) from None
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                # Links wait for all real folders: a folder goes by its own name, not by a link's.
                (waiting.append if entry.is_symlink() else waiting.appendleft)(path)
            elif path.suffix.lower() in IMAGE_SUFFIXES and _is_picture_file(entry):
                keys.append(_key(path, root))
            else:
                others += 1
    return sorted(keys), others


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where this user may not look
        return False


def _is_picture_file(entry: os.DirEntry[str]) -> bool:
    # A link that leads nowhere is kept, to be reported as unreadable; a pipe would block its reader for ever.
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True


def _key(path: Path, root: Path) -> str:
    try:
        os.path.abspath(path).encode()  # the whole path: it is kept beside the key
    except UnicodeEncodeError:
        raise DataError("a file's name is not UTF-8", observed=ascii(str(path)), hint="Rename it.") from None
    return path.relative_to(root).as_posix()
