from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data import texts
from hetsearch.data.images import ArrayReader, ImageSet, PathReader
from hetsearch.errors import DataError

PIXELS = np.arange(4 * 2 * 2, dtype=np.uint8).reshape(4, 2, 2)


def make(**columns: tuple[str, ...]) -> ImageSet:
    return ImageSet("four", ("a", "b", "c", "d"), ArrayReader(PIXELS), **columns)


def test_length_and_classes() -> None:
    images = make(labels=("y", "x", "y", "x"))
    assert len(images) == 4
    assert images.classes == ("x", "y")
    assert make().classes == ()


def test_subset_keeps_rows_together_in_the_order_asked() -> None:
    images = make(labels=("y", "x", "y", "z"), groups=("1", "1", "2", "2"))
    part = images.subset(np.array([3, 0]), "part")
    assert (part.name, part.keys, part.labels, part.groups) == ("part", ("d", "a"), ("z", "y"), ("2", "1"))
    assert part.roles is None
    np.testing.assert_array_equal(part.read(0), PIXELS[3])
    nested = part.subset([1])
    assert nested.name == "part"
    np.testing.assert_array_equal(nested.read(0), PIXELS[0])


def test_select_by_role_and_split() -> None:
    images = make(roles=("query", "gallery", "query", "gallery"), splits=("test", "test", "train", "test"))
    queries = images.select("roles", "query")
    assert (queries.name, queries.keys, queries.splits) == ("four:query", ("a", "c"), ("test", "train"))
    assert images.select("splits", "test").keys == ("a", "b", "d")


def test_select_of_what_is_not_there() -> None:
    images = make(splits=("test", "test", "train", "test"))
    with pytest.raises(DataError, match=r"no image of 'four' has the split 'tset'.*Did you mean 'test'"):
        images.select("splits", "tset")
    with pytest.raises(DataError, match=r"'four' has no roles.*a column 'role'"):
        images.select("roles", "query")


def test_a_key_that_comes_twice_and_a_short_column_are_refused() -> None:
    with pytest.raises(DataError, match=r"comes twice.*'a'"):
        ImageSet("twice", ("a", "b", "a"), ArrayReader(PIXELS))
    with pytest.raises(DataError, match=r"labels of 'four' do not match.*observed 1, expected 4"):
        make(labels=("x",))


def test_many_images_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    few = ImageSet("few", tuple(f"k{row}" for row in range(50)), PathReader(("p",) * 50), ("a", "b") * 25)
    monkeypatch.setattr(texts, "FEW", 20)
    monkeypatch.setattr(texts, "BLOCK", 8)
    many = few.subset(range(50))
    assert isinstance(many.keys, texts.Texts)
    assert (many.keys, many.labels, many.classes, many.read(3)) == (few.keys, few.labels, few.classes, Path("p"))
    for rows in (range(5, 45), [7, 3, 3 + 40], np.arange(0, 50, 2)):
        assert many.subset(rows).keys == few.subset(rows).keys == tuple(few.keys[row] for row in rows)
    assert pickle.loads(pickle.dumps(many)) == many


def test_a_set_goes_through_pickle() -> None:
    images = ImageSet("paths", ("a", "b"), PathReader((Path("a"), Path("b")))).subset([1])
    assert [PathReader(("a", "b/c.png"), Path("root"))(row) for row in (0, 1)] == [Path("root/a"), Path("root/b/c.png")]
    copy = pickle.loads(pickle.dumps(images))
    assert copy == images
    assert copy.read(0) == Path("b")
