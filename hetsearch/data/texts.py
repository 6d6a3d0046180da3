"""Columns of text with a cell for each image. A listing of millions must not take a Python object a cell."""

from __future__ import annotations

import marshal
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np

FEW = 65_536  # cells that are kept as they are
BLOCK = 4096  # cells that are packed together


class Texts(Sequence[str]):
    """Text in packed blocks: a few bytes a cell where the cells are alike.

    The block that was asked for last stays open, so what is read in order is unpacked once.

    Args:
        blocks: packed cells, all but the last :data:`BLOCK` long.
        count: cells in all of them.
    """

    def __init__(self, blocks: Sequence[bytes], count: int) -> None:
        self._blocks, self._count = blocks, count
        self._open: tuple[int, list[str]] = (-1, [])

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[row] for row in range(*index.indices(self._count)))
        number, place = divmod(range(self._count)[index], BLOCK)
        held, cells = self._open
        if held != number:
            cells = _unpack(self._blocks[number])
            self._open = number, cells
        return cells[place]

    def __iter__(self) -> Iterator[str]:
        for block in self._blocks:
            yield from _unpack(block)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # equal to a tuple, and not hashed as one

    def __repr__(self) -> str:
        return f"Texts({self._count:,} cells, {self[0]!r} to {self[-1]!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return Texts, (self._blocks, self._count)


class TextBuilder:
    """A column that grows: a tuple where it stays short, else :class:`Texts`."""

    def __init__(self) -> None:
        self._cells: list[str] = []
        self._blocks: list[bytes] = []

    def extend(self, cells: Iterable[str]) -> None:
        """Take more cells."""
        self._cells += cells
        if self._blocks or len(self._cells) > FEW:
            whole = len(self._cells) // BLOCK * BLOCK
            self._blocks += [_pack(self._cells[start : start + BLOCK]) for start in range(0, whole, BLOCK)]
            del self._cells[:whole]

    def done(self) -> Sequence[str]:
        """The column."""
        if not self._blocks:
            return tuple(self._cells)
        count = len(self._blocks) * BLOCK + len(self._cells)
        return Texts([*self._blocks, *([_pack(self._cells)] if self._cells else [])], count)


def texts(cells: Iterable[str]) -> Sequence[str]:
    """The column of these cells: a tuple where they are few, else :class:`Texts`."""
    builder = TextBuilder()
    waiting: list[str] = []
    for cell in cells:
        waiting.append(cell)
        if len(waiting) == BLOCK:
            builder.extend(waiting)
            waiting.clear()
    builder.extend(waiting)
    return builder.done()


def take(cells: Sequence[str], rows: Sequence[int]) -> Sequence[str]:
    """Some of the cells, in the order that is given."""
    if isinstance(cells, Texts) and any(second < first for first, second in pairwise(rows)):
        cells = tuple(cells)  # each would open another block
    return texts(cells[row] for row in rows)


def first_repeated(cells: Sequence[str]) -> str | None:
    """The first cell that was there before, or None. Takes eight bytes a cell."""
    hashes = np.fromiter(map(hash, cells), dtype=np.int64, count=len(cells))
    hashes.sort()
    suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    seen: set[str] = set()
    for cell in cells if suspects else ():
        if hash(cell) in suspects:
            if cell in seen:
                return cell
            seen.add(cell)
    return None


def _pack(cells: list[str]) -> bytes:
    return zlib.compress(marshal.dumps(cells), 1)


def _unpack(block: bytes) -> list[str]:
    cells: list[str] = marshal.loads(zlib.decompress(block))
    return cells
