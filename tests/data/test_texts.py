from __future__ import annotations

import pickle
from collections.abc import Sequence

import pytest

from hetsearch.data import texts as module
from hetsearch.data.texts import TextBuilder, Texts, first_repeated, take, texts

CELLS = [f"key-{row:05d}" for row in range(1000)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", 100)
    monkeypatch.setattr(module, "BLOCK", 16)


def test_few_cells_are_a_tuple() -> None:
    assert texts(CELLS[:100]) == tuple(CELLS[:100])
    assert isinstance(texts(CELLS[:100]), tuple)
    assert texts([]) == ()


@pytest.mark.parametrize("count", [101, 112, 113, 1000])
def test_many_cells_are_a_sequence_as_a_tuple_is(count: int) -> None:
    column, cells = texts(iter(CELLS[:count])), tuple(CELLS[:count])
    assert isinstance(column, Texts)
    assert isinstance(column, Sequence)
    assert len(column) == count
    assert tuple(column) == cells
    assert [column[row] for row in range(-count, count)] == [cells[row] for row in range(-count, count)]
    for index in (slice(None), slice(10, 20), slice(-5, None), slice(None, None, -7), slice(5, 5)):
        assert column[index] == cells[index]
    with pytest.raises(IndexError):
        column[count]
    assert (column.index(cells[50]), cells[-1] in column, "none" in column) == (50, True, False)
    assert column == cells
    assert column != (*cells[:-1], "other")
    assert column != cells[:-1]
    assert column != 5
    with pytest.raises(TypeError, match="unhashable"):
        hash(column)
    assert repr(column) == f"Texts({count:,} cells, 'key-00000' to '{cells[-1]}')"
    assert pickle.loads(pickle.dumps(column)) == column


def test_any_text() -> None:
    odd = ["", "\0", "a\nb", "写真", "\udcff", *CELLS]
    assert list(texts(odd)) == odd


def test_a_builder_takes_pieces_of_any_length() -> None:
    builder = TextBuilder()
    for start, stop in ((0, 0), (0, 99), (99, 100), (100, 500), (500, 501), (501, 1000)):
        builder.extend(CELLS[start:stop])
    assert builder.done() == tuple(CELLS)


def test_some_of_them_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    column, opened = texts(CELLS), []
    unpack = module._unpack
    monkeypatch.setattr(module, "_unpack", lambda block: opened.append(1) or unpack(block))
    assert take(column, range(1, 999)) == tuple(CELLS[1:999])
    assert take(column, [5, 6, 900]) == ("key-00005", "key-00006", "key-00900")
    assert len(opened) < 3 * 64 + 4
    opened.clear()
    shuffled = [row * 7 % 1000 for row in range(1000)]
    assert list(take(column, shuffled)) == [CELLS[row] for row in shuffled]
    assert len(opened) == 63 + 63  # unpacked once, and read once by this test
    assert take(tuple(CELLS), [3, 1]) == ("key-00003", "key-00001")


def test_what_is_packed_is_small() -> None:
    packed = texts(f"pictures/{row:09d}.png" for row in range(5000))
    assert sum(map(len, packed._blocks)) < 5000 * 12


def test_first_repeated() -> None:
    assert first_repeated(["a", "b", "b", "a"]) == "b"
    assert first_repeated([]) is None
    assert first_repeated(CELLS) is None
    assert first_repeated(texts([*CELLS, CELLS[3], CELLS[1]])) == CELLS[3]
