"""``SRC``, as every command takes it: a folder, a manifest, or a named set and split."""

from __future__ import annotations

from pathlib import Path

from hetsearch.data import manifest, named
from hetsearch.data.folder import open_folder
from hetsearch.data.images import ImageSet
from hetsearch.errors import DataError, nearest

FORMS = "a folder of images, a .csv or .parquet manifest (or MANIFEST:SPLIT), or NAME:SPLIT"


def open_source(source: str) -> ImageSet:
    """Resolve ``SRC``.

    Args:
        source: an existing folder, a ``.csv`` or ``.parquet`` manifest with or without ``:SPLIT``, or
            ``NAME:SPLIT`` (``fashion-mnist:test``).

    Raises:
        DataError: nothing of that kind, or it is empty or lacks something; see the readers of each kind.
        DamagedArtifact: a file of a named set is not the published one.
        MissingExtra: a Parquet manifest, and pyarrow is not installed.
    """
    path = Path(source)
    if source.strip() and path.is_dir():
        return open_folder(path)
    if path.suffix.lower() in manifest.SUFFIXES:
        return manifest.open_manifest(path)
    name, colon, split = source.rpartition(":")
    if colon and Path(name).suffix.lower() in manifest.SUFFIXES:
        return manifest.open_manifest(Path(name), split)
    if name in named.NAMED:
        return named.open_named(name, split)
    known = [f"{known}:{split}" for known in named.NAMED for split in named.SPLITS]
    observed = "a file that is neither a folder nor a manifest" if source and path.is_file() else None
    raise DataError(f"there is no source '{source}'", observed=observed, expected=FORMS, hint=nearest(source, known))
