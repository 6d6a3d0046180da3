"""Stable 64-bit ids: an item is found by its key, never by its position (law 4 of the house)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError

Ids = NDArray[np.int64]


def stable_id(key: str) -> int:
    """The id of a key: the first 63 bits of the SHA-256 of its UTF-8 form, so never negative.

    >>> stable_id("shirt.png")
    7049801153027253955

    Raises:
        DataError: the key is not valid Unicode (a file name that is not UTF-8).
    """
    try:
        digest = hashlib.sha256(key.encode()).digest()
    except UnicodeEncodeError:
        raise DataError("a key is not valid Unicode", observed=ascii(key), hint="Rename the file.") from None
    return int.from_bytes(digest[:8], "big") >> 1


def stable_ids(keys: Sequence[str]) -> Ids:
    """The ids of distinct keys, ``(n,)``, in their order; they do not depend on it.

    Raises:
        DataError: a key comes twice, or two keys have one id (expected once in about 3e9 keys).
    """
    owners: dict[int, str] = {}
    for key in keys:
        number = stable_id(key)
        if (other := owners.get(number)) == key:
            raise DataError("a key comes twice", observed=f"'{key}'", expected="unique keys")
        if other is not None:
            raise DataError(
                "two keys have the same id", observed=f"'{other}' and '{key}'", hint="Rename one of the two."
            )
        owners[number] = key
    return np.fromiter(owners, dtype=np.int64, count=len(owners))


def listing_hash(keys: Sequence[str]) -> str:
    """SHA-256 over the keys of a set of images in order: are the same images meant again?

    Not over the set's name, which says how the source was spelled: a folder has a relative and an absolute path.
    """
    digest = hashlib.sha256(f"{len(keys)}\n".encode())
    for key in keys:
        encoded = key.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()
