from __future__ import annotations

import base64
import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from hetsearch.errors import ImageError
from hetsearch.preprocess import InputSpec, preprocess
from hetsearch.service.errors import Refusal
from hetsearch.service.images import picture_bytes, read_picture

SPEC = InputSpec(size=16, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
PIXELS = 10_000


def encoded(kind: str, size: tuple[int, int] = (40, 30), **how: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **how)
    return file.getvalue()


def chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def png_that_claims(width: int, height: int) -> bytes:
    return png(width, height, zlib.compress(b"\0" * 100))


def png(width: int, height: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_every_known_format_is_preprocessed_as_the_library_does(kind: str) -> None:
    blob = encoded(kind)
    assert np.array_equal(read_picture(blob, SPEC, PIXELS), preprocess(blob, SPEC))
    uri = f"data:image/{kind.lower()};base64,{base64.b64encode(blob).decode()}"
    assert np.array_equal(read_picture(uri, SPEC, PIXELS), preprocess(blob, SPEC))


def test_the_content_decides_and_not_the_label() -> None:
    blob = encoded("PNG")
    uri = f"DATA:image/jpeg;charset=utf-8;BASE64,{base64.b64encode(blob).decode()}"
    assert np.array_equal(read_picture(uri, SPEC, PIXELS), preprocess(blob, SPEC))
    assert picture_bytes("data:;base64,AAAA") == b"\0\0\0"


def test_a_picture_that_is_an_archive_as_well_is_only_a_picture() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("evil.py", "import os")
    both = encoded("PNG") + file.getvalue()
    assert zipfile.is_zipfile(io.BytesIO(both))
    assert np.array_equal(read_picture(both, SPEC, PIXELS), preprocess(encoded("PNG"), SPEC))


@pytest.mark.parametrize(
    ("picture", "status", "code"),
    [
        (b"", 422, "unreadable_image"),
        (b"no picture", 415, "unsupported_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", 415, "unsupported_image"),
        (b"%PDF-1.7\n", 415, "unsupported_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unsupported_image"),
        (b"PK\x03\x04" + b"\0" * 100, 415, "unsupported_image"),
        (encoded("ICO"), 415, "unsupported_image"),  # Pillow could read it
        (png_that_claims(101, 100), 413, "image_too_large"),
        (png_that_claims(60_000, 60_000), 413, "image_too_large"),
        ("data:text/html;base64,AAAA", 415, "unsupported_image"),
        ("data:image/png,AAAA", 422, "invalid_request"),
        ("data:image/png;base64", 422, "invalid_request"),
        ("data:image/png;base64,AA*A", 422, "invalid_request"),
        ("data:image/png;base64,AAA", 422, "invalid_request"),
        ("data:image/png;base64,ÄÖÜ=", 422, "invalid_request"),
        ("data:image/png;base64,AA AA", 422, "invalid_request"),
        ("data:" + "x" * 300 + ";base64,AAAA", 422, "invalid_request"),
        ("/etc/passwd", 422, "invalid_request"),
        ("file:///etc/passwd", 422, "invalid_request"),
        ("http://169.254.169.254/latest/meta-data", 422, "invalid_request"),
        ("", 422, "invalid_request"),
    ],
)
def test_refusals(picture: str | bytes, status: int, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_picture(picture, SPEC, PIXELS)
    assert (caught.value.status, caught.value.code) == (status, code)
    assert "/etc/passwd" not in caught.value.message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused_and_never_an_error_of_ours(kind: str, kept: float) -> None:
    blob = encoded(kind)
    with pytest.raises((ImageError, Refusal)) as caught:
        read_picture(blob[: int(len(blob) * kept)], SPEC, PIXELS)
    if isinstance(caught.value, Refusal):
        assert caught.value.status in (415, 422)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    """A whole PNG of 36 M pixels in a few kilobytes."""
    bomb = png(6000, 6000, zlib.compress(b"\0" * (6001 * 6000), 9))
    assert len(bomb) < 50_000
    with pytest.raises(Refusal, match="6,000 × 6,000 pixels, expected at most 10,000"):
        read_picture(bomb, SPEC, PIXELS)
