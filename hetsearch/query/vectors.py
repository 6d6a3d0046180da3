"""Query vectors from a file."""

from __future__ import annotations

import tokenize
from pathlib import Path

import numpy as np

from hetsearch.errors import DataError, UsageError
from hetsearch.space import Embeddings


def load_vectors(path: str | Path, space: str) -> Embeddings:
    """Read vectors from a NumPy file.

    Args:
        path: a ``.npy`` file of ``(n, dim)``, or ``(dim,)`` for one vector, floating point.
        space: id of the space that they lie in; a ``.npy`` file cannot say it.

    Returns:
        Float32 vectors with the keys ``"0"``, ``"1"``, …

    Raises:
        UsageError: no such file.
        DataError: the file is not ``.npy``, or holds anything but such an array.
    """
    try:
        with Path(path).open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except OSError as error:
        raise UsageError(f"the vectors '{path}' cannot be read", observed=error.strerror) from None
    except (ValueError, tokenize.TokenError, MemoryError) as error:  # what NumPy raises for a damaged header
        raise DataError(f"'{path}' holds no vectors", observed=str(error), expected="a .npy file") from None
    vectors = array[None] if array.ndim == 1 else array
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        raise DataError(
            f"'{path}' holds no vectors",
            observed=f"{array.dtype} {array.shape}",
            expected="floating point (n, dim) or (dim,)",
        )
    with np.errstate(over="ignore"):  # infinity is refused where it is searched with
        single = vectors.astype(np.float32)
    return Embeddings(single, space, tuple(str(row) for row in range(len(vectors))))
