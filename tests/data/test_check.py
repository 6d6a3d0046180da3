from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hetsearch.data import Failure, ImageSet
from hetsearch.data.check import Extent, check
from hetsearch.data.folder import open_folder
from hetsearch.data.images import ArrayReader
from hetsearch.files import dump_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, size, grey in (("bag/a.png", (4, 3), 1), ("bag/b.png", (9, 7), 2), ("coat/c.png", (1, 1), 3)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", size, grey).save(tmp_path / name)
    (tmp_path / "coat" / "d.png").write_bytes((tmp_path / "bag" / "a.png").read_bytes())
    (tmp_path / "coat" / "e.png").write_bytes((tmp_path / "bag" / "a.png").read_bytes()[:40])
    (tmp_path / "coat" / "f.png").touch()
    return tmp_path


def test_a_folder_with_everything(folder: Path) -> None:
    report = check(open_folder(folder))
    assert (report.source, report.n_images) == (str(folder), 6)
    assert report.classes == {"bag": 2, "coat": 4}
    assert report.smallest == Extent("coat/c.png", 1, 1)
    assert report.largest == Extent("bag/b.png", 9, 7)
    assert report.duplicates == (("bag/a.png", "coat/d.png"),)
    assert [failure.key for failure in report.unreadable] == ["coat/e.png", "coat/f.png"]
    assert "cannot be read as an image" in report.unreadable[0].reason
    assert "is empty" in report.unreadable[1].reason
    assert (report.splits, report.roles, report.domains, report.n_groups) == (None, None, None, None)


def test_the_report_as_json(folder: Path) -> None:
    report = check(open_folder(folder))
    document = json.loads(dump_json(report.as_dict()))
    assert document["largest"] == {"key": "bag/b.png", "width": 9, "height": 7}
    assert document["duplicates"] == [["bag/a.png", "coat/d.png"]]
    assert [Failure(**failure) for failure in document["unreadable"]] == list(report.unreadable)


def test_arrays_columns_and_duplicates() -> None:
    pixels = np.zeros((4, 2, 3), dtype=np.uint8)
    pixels[1] = 1
    images = ImageSet(
        "arrays", tuple("abcd"), ArrayReader(pixels),
        groups=("1", "1", "2", "2"),
        splits=("t", "t", "t", "v"),
        roles=("query", "gallery", "gallery", "query"),
        domains=("x",) * 4,
    )
    report = check(images)
    assert report.duplicates == (("a", "c", "d"),)
    assert report.smallest == report.largest == Extent("a", 3, 2)
    assert (report.splits, report.roles, report.domains) == (
        {"t": 3, "v": 1}, {"gallery": 2, "query": 2}, {"x": 4},
    )
    assert (report.n_groups, report.classes, report.unreadable) == (2, None, ())


def test_the_same_bytes_in_two_shapes_are_two_pictures() -> None:
    pictures = [np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8)]
    report = check(ImageSet("shapes", ("a", "b"), pictures.__getitem__))
    assert report.duplicates == ()


def test_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    report = check(open_folder(tmp_path))
    assert (report.smallest, report.largest, len(report.unreadable)) == (None, None, 1)
