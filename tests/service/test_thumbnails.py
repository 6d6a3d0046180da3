from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hetsearch.data.sources import open_source
from hetsearch.gallery import build_gallery
from hetsearch.runtime import OnnxEncoder
from hetsearch.service.collection import Collection
from hetsearch.service.errors import Refusal
from hetsearch.service.thumbnails import thumbnail
from tests.support import SPACE


@pytest.fixture
def collection(tmp_path: Path, encoder: OnnxEncoder) -> Collection:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8)
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "photo.jpg")
    Image.fromarray(pixels).convert("RGBA").save(folder / "clear.png")
    Image.fromarray(pixels[:20, :10, 0]).save(folder / "small.png")
    Image.fromarray(pixels).convert("CMYK").save(folder / "print.tif")
    build_gallery(encoder, open_source(str(folder)), tmp_path / "g", progress=False)
    return Collection(str(tmp_path / "g"), SPACE)


@pytest.mark.parametrize(
    ("key", "kind", "mode", "size"),
    [
        ("photo.jpg", "JPEG", "RGB", (256, 128)),
        ("clear.png", "PNG", "RGBA", (256, 128)),
        ("small.png", "PNG", "RGB", (10, 20)),  # never enlarged
        ("print.tif", "PNG", "RGB", (256, 128)),
    ],
)
def test_every_kind_becomes_what_a_browser_shows(
    collection: Collection, key: str, kind: str, mode: str, size: tuple[int, int]
) -> None:
    small = thumbnail(collection, key, 256)
    image = Image.open(io.BytesIO(small.content))
    assert (image.format, image.mode, image.size) == (kind, mode, size)
    assert small.media_type == f"image/{kind.lower()}"


def test_a_photograph_is_shown_as_it_was_held(collection: Collection, tmp_path: Path) -> None:
    """Cameras turn the tag and not the pixels; what embeds the picture follows the tag as well."""
    path = tmp_path / "images" / "photo.jpg"
    pixels = np.zeros((40, 80), np.uint8)
    pixels[:, :40] = 255  # the left half, which is the upper one once it is turned by a quarter
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    image = Image.open(io.BytesIO(thumbnail(collection, "photo.jpg", 256).content)).convert("L")
    assert image.size == (40, 80)
    found = np.asarray(image)
    assert found[:36].min() > 200
    assert found[44:].max() < 50
    assert image.getexif() == {}


def test_a_file_that_is_gone_or_broken(collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "images" / "photo.jpg").unlink()
    (tmp_path / "images" / "clear.png").write_bytes(b"no picture")
    for key in ("photo.jpg", "clear.png"):
        with pytest.raises(Refusal, match="cannot be read") as caught:
            thumbnail(collection, key, 256)
        assert (caught.value.status, caught.value.code) == (404, "no_picture")
        assert str(tmp_path) not in caught.value.message
