"""The gallery of a running service: opened once, and again when a job has switched it to a new generation."""

from __future__ import annotations

import logging
import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from hetsearch.data import named
from hetsearch.data.images import ImageSet
from hetsearch.data.sources import open_source
from hetsearch.errors import HetsearchError
from hetsearch.gallery import Gallery, open_gallery
from hetsearch.gallery.card import CARD
from hetsearch.preprocess import ImageLike

log = logging.getLogger("hetsearch.service")

_Stamp: TypeAlias = "tuple[int, int, int] | None"


class Collection:
    """A gallery that stays open and up to date.

    Args:
        address: what :func:`hetsearch.gallery.open_gallery` takes.
        space: id of the encoder's space.

    Attributes:
        gallery: the present one. Who searches takes it once and goes on with it, whatever comes after.

    Raises:
        SpaceMismatch: the gallery is of another space.
        HetsearchError: it cannot be opened, see :func:`hetsearch.gallery.open_gallery`.
    """

    def __init__(self, address: str, space: str) -> None:
        self._address = address
        self._space = space
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self.gallery = self._open()

    def refresh(self) -> bool:
        """Open the gallery anew if its card has changed; the old one stays where that fails. Cheap where it has not.

        Returns:
            Whether there is a new one.
        """
        with self._lock:
            stamp = self._stamp()
            if stamp == self._seen:
                return False
            try:
                self.gallery = self._open()
            except OSError as error:  # of the machine and not of the gallery, as too many open files: tried again
                log.error("the new gallery cannot be opened yet", extra={"reason": str(error)})
                return False
            except Exception as error:  # noqa: BLE001  whatever it is, the old one still answers
                self._seen = stamp
                log.error("the new gallery is refused, the old one stays", extra={"reason": str(error)})
                return False
            self._seen = stamp
        log.info("gallery reloaded", extra={"generation": self.generation, "items": len(self.gallery)})
        return True

    @property
    def generation(self) -> int:
        """Counts the gallery's updates."""
        return self.gallery.card.generation

    @property
    def has_pictures(self) -> bool:
        """Whether items can be shown: their files are known, or their named set is."""
        return "path" in self.gallery.items.column_names or _is_named(self.gallery.card.images)

    def picture(self, key: str) -> ImageLike | None:
        """The picture of the item called ``key``; None where there is no such item, or nothing to show of it."""
        gallery = self.gallery
        item = gallery.item(key)
        if item is None:
            return None
        if item.get("path") is not None:
            return Path(item["path"])
        if not _is_named(gallery.card.images):
            return None
        try:
            images, places = _named_set(gallery.card.images)
        except HetsearchError as error:
            log.warning("the gallery's pictures cannot be read", extra={"reason": str(error)})
            return None
        return images.read(places[key]) if key in places else None

    def _open(self) -> Gallery:
        gallery = open_gallery(self._address)
        gallery.require_query(self._space, what="the query encoder and the gallery")
        return gallery

    def _stamp(self) -> _Stamp:
        try:
            status = os.stat(Path(self._address) / CARD)
        except OSError:  # a database, which is always up to date
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _is_named(images: str) -> bool:
    name, _, split = images.rpartition(":")
    return name in named.NAMED and split in named.SPLITS


@lru_cache(maxsize=2)
def _named_set(source: str) -> tuple[ImageSet, dict[str, int]]:
    images = open_source(source)
    return images, {key: place for place, key in enumerate(images.keys)}
