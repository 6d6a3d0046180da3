"""Small pictures of a gallery's items."""

from __future__ import annotations

import io
from dataclasses import dataclass

from hetsearch.errors import ImageError
from hetsearch.preprocess import as_seen, open_image
from hetsearch.service.collection import Collection
from hetsearch.service.errors import Refusal

LARGEST = 256  # pixels of the longest side
PHOTOGRAPHS = ("JPEG", "MPO")


@dataclass(frozen=True)
class Thumbnail:
    """An encoded picture."""

    content: bytes
    media_type: str


def thumbnail(collection: Collection, key: str, size: int) -> Thumbnail:
    """The picture of an item, at most ``size`` pixels wide and high: PNG, and JPEG where it was JPEG.

    Raises:
        Refusal: 404, there is no such item, or its picture cannot be shown.
    """
    if collection.gallery.item(key) is None:
        raise Refusal(404, "unknown_item", "the gallery has no item of this key")
    source = collection.picture(key)
    if source is None:
        raise Refusal(404, "no_picture", "the item's picture is not known here")
    try:
        opened = open_image(source)
        kind = "JPEG" if opened.format in PHOTOGRAPHS else "PNG"
        image = as_seen(opened)
        image = image.convert("RGB" if kind == "JPEG" or not image.has_transparency_data else "RGBA")
        image.thumbnail((size, size))  # of colours, since those of a palette could not be blended
        file = io.BytesIO()
        image.save(file, kind)
    except (ImageError, OSError, ValueError) as error:
        raise Refusal(404, "no_picture", f"the item's picture cannot be read: {type(error).__name__}") from None
    return Thumbnail(file.getvalue(), f"image/{kind.lower()}")
