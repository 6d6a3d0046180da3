from __future__ import annotations

import doctest
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image

from hetsearch.data import icons
from hetsearch.data.icons import IconSet, drawn_by_all, merged, renderer, split_of
from hetsearch.errors import DamagedArtifact, MissingExtra
from tests.data.made import STYLES, icon_files


def icon_set(style: str) -> IconSet:
    files = icon_files(style)
    return IconSet.parse(style, files["icons.json"], files["chars.json"])


def test_doctests() -> None:
    assert doctest.testmod(icons).failed == 0


def test_concepts_are_code_points_without_colour_tone_and_alias() -> None:
    names = icon_set("twemoji").names
    assert names[(0x2764,)] == "red-heart"  # listed as 2764-fe0f there
    assert names[(0x1F9D1, 0x200D, 0x1F33E)] == "farmer"
    assert (0x1F44D, 0x1F3FF) not in names
    assert (0x1F44D,) in names
    assert (0x1F449,) not in names
    assert len(names) == 8


def test_drawn_by_all_in_order() -> None:
    concepts = drawn_by_all([icon_set(style) for style in STYLES])
    assert concepts == [
        (0x2764,), (0x1F335,), (0x1F431,), (0x1F44D,), (0x1F514,), (0x1F63A,), (0x1F9D1, 0x200D, 0x1F33E),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((b"{", b"{}"), "'noto' is not a set of icons: observed JSONDecodeError"),
        ((b"[]", b"{}"), "is not a set of icons: observed TypeError"),
        ((b"{}", b"{}"), "is not a set of icons: observed KeyError: 'icons'"),
        ((b'{"icons": {"a": {}}}', b"{}"), "is not a set of icons: observed KeyError: 'body'"),
        ((b'{"icons": {"a": {"body": ""}}}', b'{"x": "a"}'), "is not a set of icons: observed ValueError"),
        ((b'{"icons": {"../a": {"body": ""}}}', b'{"1f44d": "../a"}'), r"a name that is none: observed '\.\./a'"),
    ],
)
def test_what_is_no_set_of_icons(files: tuple[bytes, bytes], message: str) -> None:
    with pytest.raises(DamagedArtifact, match=message):
        IconSet.parse("noto", *files)


def test_a_picture_is_what_the_drawing_says() -> None:
    icons_json = {"icons": {"box": {"body": '<path fill="#f00" d="M0 0h8v32h-8z"/>'}}, "width": 32, "height": 32}
    one = IconSet.parse("noto", json.dumps(icons_json).encode(), b'{"25fc": "box"}')
    render, program = renderer()
    assert program.startswith("resvg_py ")
    image = Image.open(io.BytesIO(render(one.svg((0x25FC,)), "box")))
    pixels = np.asarray(image.convert("RGBA"))
    assert pixels.shape == (64, 64, 4)
    assert (pixels[..., 3] == 255).all()
    assert (pixels[:, :16, :3] == (255, 0, 0)).all()
    assert (pixels[:, 16:, :3] == 255).all()  # what is not drawn is white


def test_a_drawing_that_is_not_square_is_centred() -> None:
    icons_json = {"icons": {"box": {"body": '<path d="M0 0h32v16h-32z"/>', "height": 16}}, "width": 32, "height": 32}
    one = IconSet.parse("noto", json.dumps(icons_json).encode(), b'{"25fc": "box"}')
    pixels = np.asarray(Image.open(io.BytesIO(renderer()[0](one.svg((0x25FC,)), "box"))).convert("L"))
    assert (pixels[16:48] == 0).all()
    assert (pixels[:16] == 255).all()
    assert (pixels[48:] == 255).all()


def test_a_drawing_that_is_none() -> None:
    with pytest.raises(DamagedArtifact, match="'noto/box' cannot be drawn: observed"):
        renderer()[0]("<svg", "noto/box")


def test_without_resvg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingExtra, match=r"'resvg_py' is not installed.*hetsearch\[data\]"):
        renderer()


def test_concepts_that_a_style_draws_alike_become_one() -> None:
    a, b, c, d, e = ((number,) for number in range(5))
    pictures = {
        "one": {a: b"1", b: b"2", c: b"3", d: b"3", e: b"5"},
        "two": {a: b"1", b: b"2", c: b"3", d: b"2", e: b"4"},  # b = d, and so b = c
    }
    assert merged(pictures) == {a: [], b: [c, d], e: []}
    assert merged({"one": {a: b"x", b: b"x", c: b"x"}}) == {a: [b, c]}
    assert merged({}) == {}


def test_the_share_of_each_split() -> None:
    splits = [split_of(f"concept-{number}") for number in range(5_000)]
    shares = [splits.count(split) / len(splits) for split in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=0.02)
    assert set(splits) == {"train", "validation", "test"}
