"""From what a request holds to preprocessed pixels, with a limit before what costs. No URL is ever fetched."""

from __future__ import annotations

import base64
import binascii
import io

from PIL import Image, UnidentifiedImageError

from hetsearch.errors import ImageError
from hetsearch.preprocess import InputSpec, Pixels, preprocess
from hetsearch.service.errors import Refusal

# What cameras, browsers and galleries write. Pillow knows forty more, some of them readers of whole languages.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
HINT = f"Send one of {', '.join(FORMATS)}, as a data URI (data:image/png;base64,…) or as a file of a form."


def picture_bytes(picture: str | bytes) -> bytes:
    """The file inside a data URI; bytes as they are.

    Raises:
        Refusal: 415 for another type than ``image/…``; 422 for what is no base64 data URI, a URL for one.
    """
    if isinstance(picture, bytes):
        return picture
    head, comma, payload = picture.partition(",")
    scheme, _, media = head.partition(":")
    if not comma or scheme.lower() != "data" or len(head) > 200:
        url = picture[:8].lower().startswith(("http:", "https:", "file:", "ftp:"))
        message = "a picture is given by a URL, and URLs are never fetched" if url else "a picture is no data URI"
        raise Refusal(422, "invalid_request", message, HINT)
    kind, *parameters = [part.strip().lower() for part in media.split(";")]
    if kind and not kind.startswith("image/"):
        raise Refusal(415, "unsupported_image", "a data URI is of another type than image/…", HINT)
    if "base64" not in parameters:
        raise Refusal(422, "invalid_request", "a data URI is not in base64", HINT)
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(422, "invalid_request", "the base64 of a data URI is damaged", HINT) from None


def read_picture(picture: str | bytes, spec: InputSpec, max_pixels: int) -> Pixels:
    """Decode one picture, by its content and not by what it claims to be, and preprocess it.

    Returns:
        ``uint8 (channels, size, size)``.

    Raises:
        Refusal: 413 for too many pixels, 415 for no picture of :data:`FORMATS`, 422 for a damaged one.
    """
    blob = picture_bytes(picture)
    if not blob:
        raise Refusal(422, "unreadable_image", "a picture is empty")
    try:
        with Image.open(io.BytesIO(blob), formats=FORMATS) as image:
            width, height = image.size
            if width * height <= max_pixels:
                return preprocess(image, spec, max_pixels=max_pixels)
    except UnidentifiedImageError:
        raise Refusal(415, "unsupported_image", "a picture is of no known format", HINT) from None
    except Image.DecompressionBombError:
        raise _too_large("far more", max_pixels) from None
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001  Pillow's readers raise whatever a broken file leads them to
        raise Refusal(422, "unreadable_image", f"a picture cannot be read: {type(error).__name__}") from None
    raise _too_large(f"{width:,} × {height:,}", max_pixels)


def _too_large(observed: str, max_pixels: int) -> Refusal:
    message = f"a picture is too large: observed {observed} pixels, expected at most {max_pixels:,}"
    return Refusal(413, "image_too_large", message, "Make it smaller first; the encoder does so anyway.")
