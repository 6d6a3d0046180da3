"""ONE image specification, done with Pillow and NumPy.

A picture becomes ``uint8 (channels, size, size)`` here and nowhere else: training, ONNX Runtime, the jobs and
the browser's golden images all start from these bytes. What follows (``(x / 255 - mean) / std``) is part of the
network and of its ONNX graph, so it cannot be done twice or forgotten.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from hetsearch.errors import ImageError

MAX_PIXELS = 64_000_000  # 8000 × 8000; a small file can claim to be far larger
STRIP = 64  # rows that are converted at a time

# Ours is the stricter limit and an error; Pillow's own warning at 89 M pixels would only come beside it.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".pgm", ".ppm"})

ImageLike: TypeAlias = "str | Path | bytes | Image.Image | NDArray[np.uint8]"
Pixels: TypeAlias = NDArray[np.uint8]

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class InputSpec(BaseModel):
    """What an encoder takes: saved in its bundle, written into its ONNX file, and part of its space's identity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=8, le=1024)] = 28  # side of the square, pixels
    channels: Literal[1, 3] = 1
    fit: Literal["squash", "pad"] = "pad"  # "pad" keeps the aspect and fills with the background
    resample: Literal["bilinear", "bicubic"] = "bilinear"
    background: Annotated[int, Field(ge=0, le=255)] = 255  # grey level behind transparency and padding
    mean: tuple[float, ...] = (0.5,)  # of pixels in 0 to 1, one a channel
    std: tuple[float, ...] = (0.5,)

    @model_validator(mode="after")
    def _one_value_a_channel(self) -> InputSpec:
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {self.channels} channel(s)")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, not {self.std}")
        return self

    def form(self) -> dict[str, Any]:
        """What decides the pixels: all but ``mean`` and ``std``, which are applied inside the networks."""
        return self.model_dump(exclude={"mean", "std"})


def open_image(source: ImageLike, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open and decode one picture.

    Args:
        source: a path, an encoded file's bytes, a Pillow image, or ``uint8`` pixels ``(height, width)`` or
            ``(height, width, 3)``.
        max_pixels: the largest ``width * height`` that is decoded.

    Raises:
        ImageError: the picture is missing, empty, truncated, too large, or not a picture.
    """
    name = f"'{source}'" if isinstance(source, (str, Path)) else "the image"
    if isinstance(source, np.ndarray):
        return _from_array(source)
    try:
        if isinstance(source, Image.Image):
            return _decoded(name, source, max_pixels)
        # Opened here, because Pillow leaves its own handle open where decoding fails.
        with _file(source) as file:
            return _decoded(name, Image.open(file), max_pixels)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow refuses by a limit of its own before it tells the size; its message begins with the number of pixels.
        count = re.search(r"\d+", str(error))
        raise _too_large(name, f"{int(count[0]):,}" if count else "more", max_pixels) from None
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name} cannot be read as an image", observed="no image format that Pillow knows") from None
    except Exception as error:  # noqa: BLE001  Pillow's decoders raise whatever their format's reader raises
        observed = f"{type(error).__name__}: {error}"
        raise ImageError(f"{name} cannot be read as an image", observed=observed) from None


def open_file(path: Path) -> io.BufferedReader:
    """Open the file of a picture for reading. Nothing but a file: a pipe would block its reader for ever.

    Raises:
        ImageError: it is missing, not a file, or may not be read.
    """
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"'{path}' does not exist", hint="Check the path.") from None
    except OSError as error:
        raise ImageError(f"'{path}' cannot be read", observed=error.strerror) from None
    raise ImageError(f"'{path}' is not a file", observed="a folder" if path.is_dir() else "a pipe or a device")


def to_pixels(image: Image.Image, spec: InputSpec) -> Pixels:
    """Bring one picture into the form that ``spec`` describes.

    Orientation tags are applied, transparency is put on the background, 16-bit values are scaled (Pillow would
    clip them), and only then is the picture resized.

    Returns:
        ``uint8 (channels, size, size)``, contiguous.

    Raises:
        ImageError: Pillow knows no way from the picture's colours to grey or RGB.
    """
    mode = "L" if spec.channels == 1 else "RGB"
    flat = _flatten(as_seen(image), mode, spec.background)
    if flat.size != (spec.size, spec.size):
        flat = _resize(flat, spec)
    pixels = np.array(flat)  # a copy: Pillow's own memory is read-only
    return np.ascontiguousarray(pixels[None] if spec.channels == 1 else pixels.transpose(2, 0, 1))


def as_seen(image: Image.Image) -> Image.Image:
    """A decoded picture as people see it: upright by its orientation tag, 16 bits and floating point in 8 bits."""
    turned = _upright(image)
    return _to_8_bit(turned) if turned.mode.startswith("I") or turned.mode == "F" else turned


def preprocess(source: ImageLike, spec: InputSpec, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Open one picture and bring it into the form that ``spec`` describes: ``uint8 (channels, size, size)``.

    Raises:
        ImageError: see :func:`open_image` and :func:`to_pixels`.
    """
    image = open_image(source, max_pixels=max_pixels)
    try:
        return to_pixels(image, spec)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001  as in open_image: what is damaged may pass for an odd picture
        observed = f"{type(error).__name__}: {error}"
        raise ImageError("the image cannot be brought into the encoder's form", observed=observed) from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # noqa: BLE001  a tag block may be corrupt in any way, while the pixels are whole
        return image


def _decoded(name: str, image: Image.Image, max_pixels: int) -> Image.Image:
    _check_size(name, image.size, max_pixels)
    image.load()
    return image


def _file(source: str | Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        if not source:
            raise ImageError("the image is empty", observed="0 bytes")
        return io.BytesIO(source)
    file = open_file(Path(source))
    if not os.fstat(file.fileno()).st_size:
        file.close()
        raise ImageError(f"'{source}' is empty", observed="0 bytes", expected="an image file")
    return file


def _check_size(name: str, size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if not width * height:
        raise ImageError(f"{name} has no pixels", observed=f"{width:,} × {height:,}")
    if width * height > max_pixels:
        raise _too_large(name, f"{width:,} × {height:,}", max_pixels)


def _too_large(name: str, pixels: str, limit: int) -> ImageError:
    observed, expected = f"{pixels} pixels", f"at most {limit:,} pixels"
    return ImageError(f"{name} is too large", observed=observed, expected=expected, hint="Make it smaller first.")


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)) or not array.size:
        raise ImageError(
            "an array is not an image",
            observed=f"{array.dtype} {array.shape}",
            expected="uint8 (height, width) or (height, width, 3)",
        )
    return Image.fromarray(array)


def _flatten(image: Image.Image, mode: str, background: int) -> Image.Image:
    if image.mode == "LAB":
        image = image.convert("RGB")  # the only way that Pillow knows out of it
    try:
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            behind = Image.new("RGBA", rgba.size, (background, background, background, 255))
            image = Image.alpha_composite(behind, rgba)
        return image.convert(mode)
    except ValueError as error:
        raise ImageError("the image's colours cannot be converted", observed=str(error)) from None


def _to_8_bit(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    # In strips: as float64 a large picture would take a gigabyte, several times.
    strips = [slice(start, start + STRIP) for start in range(0, len(values), STRIP)]
    if image.mode.startswith("I"):  # integer files hold 16 bits (PNG and TIFF), floating-point ones 0 to 1 or 0 to 255
        scale = 255.0 / 65535.0
    else:
        scale = 255.0 if max(np.nan_to_num(values[strip]).max(initial=0.0) for strip in strips) <= 1.0 else 1.0
    grey = np.empty(values.shape, dtype=np.uint8)
    for strip in strips:
        exact = np.nan_to_num(values[strip].astype(np.float64))
        grey[strip] = np.clip(np.rint(exact * scale), 0, 255)
    return Image.fromarray(grey)


def _resize(image: Image.Image, spec: InputSpec) -> Image.Image:
    resample = _RESAMPLING[spec.resample]
    if spec.fit == "squash":
        return image.resize((spec.size, spec.size), resample)
    scale = spec.size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new(image.mode, (spec.size, spec.size), (spec.background,) * len(image.getbands()))
    canvas.paste(image.resize((width, height), resample), ((spec.size - width) // 2, (spec.size - height) // 2))
    return canvas
