"""What an unfinished gallery leaves in its folder, and how it is cleared without touching anything else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from hetsearch.errors import UsageError
from hetsearch.gallery.card import CARD, EMBEDDINGS, ITEMS
from hetsearch.gallery.faiss_store import INDEX
from hetsearch.gallery.shards import FAILURES, MANIFEST

_TEMPORARY = r"\.(?:{names})\.\d+\.[0-9a-f]{{8}}\.tmp"  # as hetsearch.files names them
_SHARD = r"shard-\d{5,}\.parquet"


def clear_unfinished(out: Path) -> None:
    """Remove what a killed job left in ``out``, a folder without ``gallery.json``.

    Raises:
        UsageError: ``out`` is a file, or holds anything that no job wrote; then nothing is removed.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"'{out}' is not a folder", hint="Choose another --out.")
    ours = [re.escape(name) for name in (CARD, INDEX, ITEMS)]
    inner = [_SHARD, re.escape(MANIFEST), re.escape(FAILURES)]
    found = list(out.iterdir())
    folder = out / EMBEDDINGS
    foreign = [path for path in found if path != folder and not _written(path, ours)]
    if folder.exists():
        foreign += [path for path in folder.iterdir() if not _written(path, inner)]
    if foreign:
        raise UsageError(
            f"'{out}' is not empty and no gallery",
            observed=f"'{foreign[0].relative_to(out)}'",
            expected="a new or empty folder",
            hint="Choose another --out.",
        )
    for path in found:
        shutil.rmtree(path) if path == folder else path.unlink()


def _written(path: Path, names: list[str]) -> bool:
    either = "|".join(names)
    pattern = f"{either}|{_TEMPORARY.format(names=either)}"
    return path.is_file() and re.fullmatch(pattern, path.name) is not None
