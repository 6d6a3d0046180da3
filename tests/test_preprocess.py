"""Pixels are checked against values computed by hand from the definition of each format."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from hetsearch.errors import ImageError
from hetsearch.preprocess import MAX_PIXELS, ImageLike, InputSpec, open_image, preprocess, to_pixels

GREY = InputSpec(size=8)
COLOUR = InputSpec(size=8, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
BLACK_BEHIND = InputSpec(size=8, background=0)


def spread(row: list[int]) -> np.ndarray:
    """An 8 × 8 array whose columns hold the values of ``row``, each over ``8 / len(row)`` columns."""
    return np.tile(np.repeat(row, 8 // len(row)), (8, 1))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colour: int, row: bytes, extra: bytes = b"") -> bytes:
    """A PNG by hand, every line of which is ``row``; ``extra`` are chunks before the pixels."""
    packer = zlib.compressobj(9)
    lines = b"".join(packer.compress(b"\0" + row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def grey(source: ImageLike, spec: InputSpec = GREY) -> np.ndarray:
    pixels = preprocess(source, spec)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (spec.channels, spec.size, spec.size)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    return pixels[0]


# --- read correctly -----------------------------------------------------------------------------------------


def test_16_bit_png_is_scaled_not_clipped() -> None:
    # 32768 * 255 / 65535 = 127.502, 257 * 255 / 65535 = 1.
    values = [65535, 32768, 257, 0]
    source = png(8, 8, 16, 0, b"".join(struct.pack(">H", value) for value in np.repeat(values, 2)))
    np.testing.assert_array_equal(grey(source), spread([255, 128, 1, 0]))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_16_bit_tiff(mode: str) -> None:
    kinds = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}
    values = spread([65535, 32768, 257, 0]).astype(kinds[mode])
    image = Image.frombytes(mode, (8, 8), values.tobytes())
    np.testing.assert_array_equal(grey(encode(image, "TIFF")), spread([255, 128, 1, 0]))


def test_16_bit_pgm() -> None:
    values = spread([65535, 32768, 257, 0]).astype(">u2").tobytes()
    np.testing.assert_array_equal(grey(b"P5 8 8 65535\n" + values), spread([255, 128, 1, 0]))


def test_floating_point_tiff_of_either_range() -> None:
    unit, byte = (
        Image.fromarray(spread(row).astype(np.float32) / divisor)
        for row, divisor in (([0, 51, 102, 255], 255), ([0, 51, 102, 255], 1))
    )
    for image in (unit, byte):
        np.testing.assert_array_equal(grey(encode(image, "TIFF")), spread([0, 51, 102, 255]))


def test_floating_point_without_a_number_is_black() -> None:
    values = spread([0, 0, 0, 200]).astype(np.float32)
    values[:, 0] = np.nan
    values[:, 1] = np.inf
    expected = spread([0, 0, 0, 200])
    expected[:, 1] = 255
    np.testing.assert_array_equal(grey(encode(Image.fromarray(values), "TIFF")), expected)


def test_palette() -> None:
    colours = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255])
    source = png(8, 8, 8, 3, bytes([0, 0, 1, 1, 2, 2, 3, 3]), chunk(b"PLTE", colours))
    pixels = preprocess(source, COLOUR)
    np.testing.assert_array_equal(pixels[0], spread([255, 0, 0, 255]))
    np.testing.assert_array_equal(pixels[1], spread([0, 255, 0, 255]))
    np.testing.assert_array_equal(pixels[2], spread([0, 0, 255, 255]))
    # ITU-R 601-2: 0.299 R + 0.587 G + 0.114 B.
    np.testing.assert_array_equal(grey(source), spread([76, 150, 29, 255]))


def test_palette_with_transparency_is_put_on_the_background() -> None:
    extra = chunk(b"PLTE", bytes([200, 200, 200, 100, 100, 100])) + chunk(b"tRNS", bytes([0, 255]))
    source = png(8, 8, 8, 3, bytes([0] * 4 + [1] * 4), extra)
    np.testing.assert_array_equal(grey(source), spread([255, 100]))
    np.testing.assert_array_equal(grey(source, BLACK_BEHIND), spread([0, 100]))


def test_1_bit() -> None:
    np.testing.assert_array_equal(grey(png(8, 8, 1, 0, bytes([0b11110000]))), spread([255, 0]))


@pytest.mark.parametrize(("alpha", "on_white", "on_black"), [(255, 51, 51), (0, 255, 0), (128, 153, 26)])
def test_alpha_is_put_on_the_background(alpha: int, on_white: int, on_black: int) -> None:
    # 51 * 128/255 + 255 * 127/255 = 152.6; 51 * 128/255 = 25.6.
    rgba = Image.new("RGBA", (8, 8), (51, 51, 51, alpha))
    la = Image.new("LA", (8, 8), (51, alpha))
    for image in (rgba, la):
        source = encode(image, "PNG")
        np.testing.assert_array_equal(grey(source), np.full((8, 8), on_white))
        np.testing.assert_array_equal(grey(source, BLACK_BEHIND), np.full((8, 8), on_black))


def test_grey_with_one_transparent_value() -> None:
    source = png(8, 8, 8, 0, bytes([10] * 4 + [20] * 4), chunk(b"tRNS", struct.pack(">H", 20)))
    np.testing.assert_array_equal(grey(source), spread([10, 255]))


def test_cmyk_jpeg() -> None:
    # R = 255 - C - K and so on, without a colour profile.
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    pixels = preprocess(encode(image, "JPEG", quality=100), COLOUR).astype(int)
    assert np.abs(pixels - np.array([0, 255, 255])[:, None, None]).max() <= 2
    tiff = preprocess(encode(Image.new("CMYK", (8, 8), (0, 0, 0, 155)), "TIFF"), COLOUR)
    assert (tiff == 100).all()


def test_lab_tiff() -> None:
    # L* = 100, a* = b* = 0 is white.
    source = encode(Image.frombytes("LAB", (8, 8), bytes([255, 0, 0]) * 64), "TIFF")
    assert (grey(source) >= 254).all()
    assert (preprocess(source, COLOUR) >= 254).all()


def test_one_pixel() -> None:
    np.testing.assert_array_equal(grey(png(1, 1, 8, 0, b"\x2a")), np.full((8, 8), 42))


@pytest.mark.parametrize(
    ("orientation", "corner"),
    # Where the stored upper left pixel is seen: EXIF 2.3, tag 274, "row 0, column 0".
    [(1, (0, 0)), (2, (0, 7)), (3, (7, 7)), (4, (7, 0)), (5, (0, 0)), (6, (0, 7)), (7, (7, 7)), (8, (7, 0))],
)
def test_exif_orientation(orientation: int, corner: tuple[int, int]) -> None:
    stored = np.zeros((8, 8), np.uint8)
    stored[0, 0], stored[0, 1] = 255, 100
    exif = Image.Exif()
    exif[274] = orientation
    seen = grey(encode(Image.fromarray(stored), "PNG", exif=exif))
    assert seen[corner] == 255
    row, column = corner
    along_the_row = (row, column + (1 if column == 0 else -1))
    along_the_column = (row + (1 if row == 0 else -1), column)
    assert seen[along_the_row if orientation <= 4 else along_the_column] == 100
    assert seen.astype(int).sum() == 355


def test_a_broken_orientation_tag_does_not_lose_the_picture() -> None:
    source = png(8, 8, 8, 0, bytes([10] * 4 + [20] * 4), chunk(b"eXIf", b"MM\0*\xff\xff"))
    np.testing.assert_array_equal(grey(source), spread([10, 20]))


@pytest.mark.parametrize(
    "name", ["mein Bild.png", "图片 一.png", "café.png", "рубашка 👕.png", "it's \"x\", y.png"]
)
def test_names_with_spaces_and_other_scripts(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(png(8, 8, 8, 0, bytes(range(8))))
    for source in (path, str(path)):
        np.testing.assert_array_equal(grey(source), spread(list(range(8))))


def test_every_form_of_source_gives_the_same_bytes(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(array)
    image.save(tmp_path / "a.png")
    first = preprocess(array, COLOUR)
    for source in (image, tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes()):
        np.testing.assert_array_equal(preprocess(source, COLOUR), first)


def test_pixels_of_the_right_size_are_not_touched() -> None:
    array = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    for resample in ("bilinear", "bicubic"):
        for fit in ("pad", "squash"):
            np.testing.assert_array_equal(grey(array, InputSpec(size=8, fit=fit, resample=resample)), array)
    colour = np.random.default_rng(2).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(preprocess(colour, COLOUR), colour.transpose(2, 0, 1))


# --- geometry -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "inside"),
    [
        (16, 8, np.s_[2:6, :]),  # scale 1/2: 8 × 4, two rows above and below
        (8, 16, np.s_[:, 2:6]),
        (4, 2, np.s_[2:6, :]),  # small pictures grow
        (16, 10, np.s_[1:6, :]),  # 8 × 5: the odd row is at the bottom
        (80, 1, np.s_[3:4, :]),  # 8 × 0.1 keeps one row
    ],
)
def test_padding(width: int, height: int, inside: tuple[slice, slice]) -> None:
    expected = np.full((8, 8), 255)
    expected[inside] = 40
    np.testing.assert_array_equal(grey(np.full((height, width), 40, np.uint8)), expected)


def test_padding_takes_the_background_in_every_channel() -> None:
    spec = COLOUR.model_copy(update={"background": 7})
    pixels = preprocess(np.full((4, 8, 3), 40, np.uint8), spec)
    assert (pixels[:, 2:6] == 40).all()
    assert (pixels[:, [0, 1, 6, 7]] == 7).all()


def test_squash_fills_the_square() -> None:
    array = np.repeat(np.array([[10], [90]], np.uint8), 32, axis=1)  # 2 rows, 32 columns
    pixels = grey(array, InputSpec(size=8, fit="squash"))
    assert (pixels == pixels[:, :1]).all()
    # Bilinear, from 2 rows to 8: row r lies at (r + 0.5) / 4 - 0.5 between the rows, held at the ends.
    position = np.clip((np.arange(8) + 0.5) / 4 - 0.5, 0, 1)
    np.testing.assert_array_equal(pixels[:, 0], np.rint(10 + 80 * position))


def test_bilinear_makes_a_mean_when_it_shrinks() -> None:
    # Halving with Pillow's bilinear filter: a triangle of support 2, weights 1/8, 3/8, 3/8, 1/8.
    array = np.tile(np.tile([0, 0, 80, 80], 4), (16, 1)).astype(np.uint8)
    pixels = grey(array)
    assert (pixels == pixels[:1]).all()
    np.testing.assert_array_equal(pixels[0, 1:-1], [60, 20, 60, 20, 60, 20])


# --- errors -------------------------------------------------------------------------------------------------


def test_truncated_jpeg(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    whole = encode(Image.fromarray(array), "JPEG")
    path = tmp_path / "cut.jpg"
    for keep in (0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * keep)])
        with pytest.raises(ImageError, match=r"cut.jpg' cannot be read as an image: observed .*[Tt]runcated"):
            preprocess(path, GREY)


def test_zero_bytes(tmp_path: Path) -> None:
    (tmp_path / "nothing.png").touch()
    with pytest.raises(ImageError, match=r"nothing.png' is empty: observed 0 bytes"):
        preprocess(tmp_path / "nothing.png", GREY)
    with pytest.raises(ImageError, match="the image is empty: observed 0 bytes"):
        preprocess(b"", GREY)


def test_a_text_file(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    with pytest.raises(ImageError, match=r"notes.png' cannot be read as an image: observed no image format"):
        preprocess(tmp_path / "notes.png", GREY)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(  # above and below the size at which Pillow itself refuses
    ("side", "observed"), [(20_000, "400,000,000"), (10_000, "10,000 × 10,000")]
)
def test_a_small_file_of_enormous_size(tmp_path: Path, side: int, observed: str) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png(side, side, 1, 0, bytes(-(-side // 8))))
    assert path.stat().st_size < 100_000
    message = rf"huge.png' is too large: observed {observed} pixels, expected at most 64,000,000 pixels\. Make it"
    with pytest.raises(ImageError, match=message):
        preprocess(path, GREY)


def test_the_limit_is_exact() -> None:
    assert MAX_PIXELS == 64_000_000
    source = png(10, 10, 8, 0, bytes(10))
    assert open_image(source, max_pixels=100).size == (10, 10)
    with pytest.raises(ImageError, match="observed 10 × 10 pixels, expected at most 99 pixels"):
        open_image(source, max_pixels=99)


def test_a_missing_file_a_folder_and_an_empty_name(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent.png' does not exist. Check the path"):
        preprocess(tmp_path / "absent.png", GREY)
    for source in (tmp_path, "", "a\0b", "x" * 5000):
        with pytest.raises(ImageError, match=r"is not a file|cannot be read"):
            preprocess(source, GREY)


@pytest.mark.parametrize("shape", [(8,), (8, 8, 1), (8, 8, 4), (1, 8, 8, 3), (0, 8)])
def test_arrays_of_the_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"not an image: observed uint8 .*expected uint8 \(height, width\)"):
        preprocess(np.zeros(shape, np.uint8), GREY)


def test_arrays_of_the_wrong_type() -> None:
    with pytest.raises(ImageError, match="observed float32"):
        preprocess(np.zeros((8, 8), np.float32), GREY)  # type: ignore[arg-type]


def test_pillow_images_that_cannot_be_used() -> None:
    with pytest.raises(ImageError, match="has no pixels: observed 0 × 5"):
        preprocess(Image.new("L", (0, 5)), GREY)
    with pytest.raises(ImageError, match="colours cannot be converted"):
        to_pixels(Image.new("La", (8, 8)), GREY)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 3}, r"mean has 1 values for 3 channel\(s\)"),
        ({"mean": (0.5, 0.5)}, "mean has 2 values"),
        ({"std": (0.0,)}, "std must be positive"),
        ({"size": 4}, "greater than or equal to 8"),
        ({"background": 256}, "less than or equal to 255"),
        ({"colour": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_specification_that_cannot_be(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InputSpec(**values)


def test_a_specification_goes_through_json() -> None:
    assert InputSpec.model_validate_json(COLOUR.model_dump_json()) == COLOUR
