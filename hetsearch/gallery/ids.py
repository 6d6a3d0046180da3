"""Stable 64-bit ids: an item is found by its key, never by its position (law 4 of the house)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

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
    numbers = _numbers(keys)
    _require_distinct(keys, np.sort(numbers))
    return numbers


def require_distinct(keys: Sequence[str]) -> None:
    """Refuse what :func:`stable_ids` would refuse, in half of its memory."""
    numbers = _numbers(keys)
    numbers.sort()
    _require_distinct(keys, numbers)


def _numbers(keys: Sequence[str]) -> Ids:
    return np.fromiter(map(stable_id, keys), dtype=np.int64, count=len(keys))


def _require_distinct(keys: Sequence[str], ordered: Ids) -> None:
    twins = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    owners: dict[int, str] = {}
    for key in keys if twins else ():
        if (number := stable_id(key)) not in twins:
            continue
        if (other := owners.get(number)) == key:
            raise DataError("a key comes twice", observed=f"'{key}'", expected="unique keys")
        if other is not None:
            raise DataError(
                "two keys have the same id", observed=f"'{other}' and '{key}'", hint="Rename one of the two."
            )
        owners[number] = key


class IdSet:
    """Ids that were met, in sorted blocks: eight bytes an id, where a set of Python's numbers takes ten times that."""

    def __init__(self, ids: Ids) -> None:
        self._blocks = [np.sort(ids)]

    def take(self, ids: Ids) -> int | None:
        """Take new ids, all of them or none.

        Returns:
            None, or an id that comes twice: then nothing was taken.
        """
        fresh = np.sort(ids)
        repeated = fresh[1:][fresh[1:] == fresh[:-1]]
        for block in self._blocks:
            if len(block):
                places = np.searchsorted(block, fresh)
                repeated = np.append(repeated, fresh[block[np.minimum(places, len(block) - 1)] == fresh])
        if len(repeated):
            return int(repeated[0])
        # Blocks double in size, so an id is sorted again only as often as the set has doubled.
        while self._blocks and len(self._blocks[-1]) <= len(fresh):
            fresh = np.sort(np.concatenate([self._blocks.pop(), fresh]))
        self._blocks.append(fresh)
        return None


def listing_hash(keys: Sequence[str]) -> str:
    """SHA-256 over the keys of a set of images in order: are the same images meant again?

    Not over the set's name, which says how the source was spelled: a folder has a relative and an absolute path.
    """
    return hash_keys(len(keys), keys)


def hash_keys(count: int, keys: Iterable[str]) -> str:
    """:func:`listing_hash` of ``count`` keys that come one by one."""
    digest = hashlib.sha256(f"{count}\n".encode())
    for key in keys:
        encoded = key.encode(errors="surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.hexdigest()
