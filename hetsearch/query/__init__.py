"""The light side from Python: encode a picture, search a gallery. No torch."""

from hetsearch.gallery import open_gallery
from hetsearch.query.pictures import encode_files
from hetsearch.query.search import search
from hetsearch.query.stream import encode_stream
from hetsearch.query.vectors import load_vectors
from hetsearch.runtime import load_encoder

__all__ = ["encode_files", "encode_stream", "load_encoder", "load_vectors", "open_gallery", "search"]
