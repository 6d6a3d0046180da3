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
    exif = Image.Exif()
    exif[274] = 6  # the camera was held upright
    Image.fromarray(np.kron(np.eye(2), np.full((100, 200), 255)).astype(np.uint8)).save(folder / "held.jpg", exif=exif)
    Image.fromarray(np.tile(np.arange(0, 60_000, 1_000, dtype=np.uint16), (9, 1))).save(folder / "deep.png")
    Image.fromarray(np.tile(np.eye(2, dtype=np.uint8) * 255, (200, 200))).quantize(2).save(folder / "palette.png")
    build_gallery(encoder, open_source(str(folder)), tmp_path / "g", progress=False)
    return Collection(str(tmp_path / "g"), SPACE)


@pytest.mark.parametrize(
    ("key", "kind", "mode", "size"),
    [
        ("photo.jpg", "JPEG", "RGB", (256, 128)),
        ("clear.png", "PNG", "RGBA", (256, 128)),
        ("small.png", "PNG", "RGB", (10, 20)),  # never enlarged
        ("print.tif", "PNG", "RGB", (256, 128)),
        ("held.jpg", "JPEG", "RGB", (128, 256)),
    ],
)
def test_every_kind_becomes_what_a_browser_shows(
    collection: Collection, key: str, kind: str, mode: str, size: tuple[int, int]
) -> None:
    small = thumbnail(collection, key, 256)
    image = Image.open(io.BytesIO(small.content))
    assert (image.format, image.mode, image.size) == (kind, mode, size)
    assert small.media_type == f"image/{kind.lower()}"


def shown(collection: Collection, key: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(thumbnail(collection, key, 200).content)).convert("L")).astype(int)


def test_it_is_upright(collection: Collection) -> None:
    corners = shown(collection, "held.jpg")[[5, 5, -5, -5], [5, -5, 5, -5]]
    assert np.abs(corners - [0, 255, 255, 0]).max() < 20  # white was at the upper left and the lower right


def test_16_bits_are_scaled_and_a_palette_is_blended(collection: Collection) -> None:
    assert np.array_equal(shown(collection, "deep.png")[0], np.rint(np.arange(0, 60_000, 1_000) / 257))
    assert np.abs(shown(collection, "palette.png") - 128).max() < 64


def test_a_file_that_is_gone_or_broken(collection: Collection, tmp_path: Path) -> None:
    (tmp_path / "images" / "photo.jpg").unlink()
    (tmp_path / "images" / "clear.png").write_bytes(b"no picture")
    for key in ("photo.jpg", "clear.png"):
        with pytest.raises(Refusal, match="cannot be read") as caught:
            thumbnail(collection, key, 256)
        assert (caught.value.status, caught.value.code) == (404, "no_picture")
        assert str(tmp_path) not in caught.value.message
