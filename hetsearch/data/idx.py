"""The idx format of MNIST and its heirs: big-endian, a magic number, the sizes, then bytes.

The magic number is ``00 00 08 n``: type 8 (unsigned byte) and the number of dimensions; ``n`` sizes of four
bytes follow. Source: the file format section of "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DamagedArtifact

_MAGIC = b"\0\0\x08"
_MOST = 32  # dimensions; every NumPy has so many


def decompress(content: bytes, *, name: str) -> bytes:
    """The payload of an idx file, which may be gzipped (told by its first bytes, not by its name).

    Raises:
        DamagedArtifact: the gzip stream is cut short or corrupt.
    """
    try:
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        raise DamagedArtifact(
            f"'{name}' cannot be read", observed=str(error), hint="Fetch it again."
        ) from None


def parse_idx(payload: bytes, *, name: str) -> NDArray[np.uint8]:
    """The array of an uncompressed idx file.

    Args:
        payload: the whole file.
        name: the file, for the message.

    Returns:
        ``uint8``, read-only, in the shape that the header gives: ``(n,)`` or ``(n, height, width)``.

    Raises:
        DamagedArtifact: not an idx file of unsigned bytes, or of another length than its header says.
    """
    dimensions = payload[3] if len(payload) > 3 else 0
    if payload[:3] != _MAGIC or not 1 <= dimensions <= _MOST or len(payload) < 4 + 4 * dimensions:
        raise DamagedArtifact(
            f"'{name}' is not an idx file",
            observed=f"it begins with {payload[:4].hex(' ') or 'nothing'}",
            expected="00 00 08 and the number of dimensions",
        )
    shape = struct.unpack(f">{dimensions}I", payload[4 : 4 + 4 * dimensions])
    values = np.frombuffer(payload, dtype=np.uint8, offset=4 + 4 * dimensions)
    expected = math.prod(shape)  # of Python: sizes of a damaged header would overflow in NumPy
    if values.size != expected:
        raise DamagedArtifact(
            f"'{name}' is not whole", observed=f"{values.size:,} values", expected=f"{expected:,} for {shape}"
        )
    return values.reshape(shape)


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file, gzipped or not: :func:`decompress`, then :func:`parse_idx`."""
    return parse_idx(decompress(path.read_bytes(), name=str(path)), name=str(path))


def to_idx(array: NDArray[np.uint8]) -> bytes:
    """The uncompressed idx file of ``array``, ``uint8`` of any shape."""
    header = _MAGIC + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + np.ascontiguousarray(array, dtype=np.uint8).tobytes()


def to_idx_gz(array: NDArray[np.uint8]) -> bytes:
    """The gzipped idx file of ``array``; the same bytes each time, because it holds neither name nor time."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, mtime=0) as file:
        file.write(to_idx(array))
    return buffer.getvalue()
