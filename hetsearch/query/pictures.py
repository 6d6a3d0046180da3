"""Query vectors from files of pictures, some of which may not be readable."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hetsearch.data.pixels import Failure
from hetsearch.errors import ImageError, UsageError
from hetsearch.runtime import Encoder
from hetsearch.space import Embeddings


def encode_files(encoder: Encoder, paths: Sequence[str | Path]) -> tuple[Embeddings, tuple[Failure, ...]]:
    """Embed pictures; one that cannot be read does not stop the others.

    Args:
        encoder: makes the vectors.
        paths: files, at least one; not a single path.

    Returns:
        ``(n, dim)`` of those that could be read, keys being the paths as given; and the others with the reason.

    Raises:
        UsageError: a file is not there, or there are none; nothing is read then.
        ImageError: no picture can be read.
    """
    if isinstance(paths, (str, Path)) or not paths:
        raise UsageError("there are no pictures to embed", observed=repr(paths), expected="a sequence of paths")
    missing = [str(path) for path in paths if not os.path.isfile(path)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UsageError(f"there is no picture '{missing[0]}'{more}", expected="files of pictures")
    rows, keys, failures = [], [], []
    for path in paths:
        try:
            rows.append(encoder.encode([path]).vectors)
        except ImageError as error:
            if len(paths) == 1:
                raise
            failures.append(Failure(str(path), str(error)))
        else:
            keys.append(str(path))
    if not rows:
        raise ImageError("no picture can be read", observed=f"{len(failures)} failures, first: {failures[0].reason}")
    return Embeddings(np.concatenate(rows), encoder.space, tuple(keys)), tuple(failures)
