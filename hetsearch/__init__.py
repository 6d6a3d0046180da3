"""hetsearch: visual search whose two sides are different networks, in one shared space.

>>> import hetsearch
>>> encoder = hetsearch.load_encoder("zoo/fashion-mnist/query-encoder")  # doctest: +SKIP
>>> gallery = hetsearch.open_gallery("runs/fashion-mnist/gallery")  # doctest: +SKIP
>>> hits = gallery.search(encoder.encode(["shirt.png"]), k=10)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hetsearch.gallery import Gallery as Gallery
    from hetsearch.gallery import open_gallery as open_gallery
    from hetsearch.runtime import Encoder as Encoder
    from hetsearch.runtime import load_encoder as load_encoder
    from hetsearch.space import Embeddings as Embeddings
    from hetsearch.space import EmbeddingSpace as EmbeddingSpace

# Loaded at first use, so that 'import hetsearch' and 'hetsearch --help' cost nothing.
_HOMES = {
    "EmbeddingSpace": "hetsearch.space",
    "Embeddings": "hetsearch.space",
    "Encoder": "hetsearch.runtime",
    "Gallery": "hetsearch.gallery",
    "load_encoder": "hetsearch.runtime",
    "open_gallery": "hetsearch.gallery",
}

__all__ = ["EmbeddingSpace", "Embeddings", "Encoder", "Gallery", "__version__", "load_encoder", "open_gallery"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'hetsearch' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
