"""The batches of CIFAR-10's Python version: pickles, read without letting a pickle do anything.

A batch is a dictionary with ``data``, ``uint8 (n, 3072)``: 32 × 32 red values row by row, then green, then blue;
and ``labels``, ``n`` numbers. It was written by Python 2 and NumPy of that time, so keys and text are bytes, and
the array asks for three names of NumPy. Those three become objects here that only keep what they are given; any
other name is refused, so neither NumPy's code nor anyone else's runs on the file's word. Source of the format:
"Learning Multiple Layers of Features from Tiny Images", the data set's page.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DamagedArtifact

SIDE = 32  # pixels
CLASSES = 10
_VALUES = 3 * SIDE * SIDE


def parse_batch(payload: bytes, *, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images and labels of one batch.

    Args:
        payload: the whole file.
        name: the file, for the message.

    Returns:
        ``uint8 (n, 32, 32, 3)`` and ``uint8 (n,)``, labels below 10.

    Raises:
        DamagedArtifact: not such a pickle, or one that asks for anything else than an array of bytes.
    """
    try:
        batch = _Reader(io.BytesIO(payload), encoding="bytes").load()
    except Exception as error:  # noqa: BLE001  a damaged pickle can fail in any way
        raise _damaged(name, f"{type(error).__name__}: {error}") from None
    if not isinstance(batch, dict) or not {b"data", b"labels"} <= batch.keys():
        raise _damaged(name, "no dictionary with data and labels")
    labels = batch[b"labels"]
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < CLASSES for label in labels):
        raise _damaged(name, f"labels that are not numbers below {CLASSES}")
    return _pixels(batch[b"data"], len(labels), name), np.array(labels, dtype=np.uint8)


def _pixels(data: object, n: int, name: str) -> NDArray[np.uint8]:
    if not isinstance(data, _Array) or not isinstance(data.content, bytes):
        raise _damaged(name, "data that is no array")
    kind = data.dtype.kind if isinstance(data.dtype, _Dtype) else None
    if kind != b"u1" or data.shape != (n, _VALUES) or len(data.content) != n * _VALUES:
        raise _damaged(name, f"{len(data.content):,} values of type {kind!r} and shape {data.shape} for {n:,} labels")
    rows = np.frombuffer(data.content, dtype=np.uint8).reshape(data.shape, order="F" if data.by_column else "C")
    return np.ascontiguousarray(rows.reshape(n, 3, SIDE, SIDE).transpose(0, 2, 3, 1))


def _damaged(name: str, observed: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"'{name}' is not a CIFAR-10 batch",
        observed=observed,
        expected=f"a pickled dictionary with data, uint8 (n, {_VALUES:,}), and n labels",
        hint="Fetch it again.",
    )


class _Dtype:
    """What a pickle tells about an array's type."""

    def __init__(self, kind: Any = None, *_: Any) -> None:
        self.kind = kind

    def __setstate__(self, state: Any) -> None:
        """The byte order and more, which a type of one byte does not need."""


class _Array:
    """What a pickle tells about an array."""

    shape: Any = None
    dtype: Any = None
    by_column: Any = None
    content: Any = None

    def __init__(self, *_: Any) -> None:
        """The arguments are those of an empty array; what is in it comes by ``__setstate__``."""

    def __setstate__(self, state: Any) -> None:
        # A version number came first since NumPy 1.0.
        self.shape, self.dtype, self.by_column, self.content = state[-4:]


# Newer NumPy calls its module "_core", so that a batch which was pickled again is read too.
_KNOWN: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None
