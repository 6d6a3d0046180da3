"""Images and labels, without torch: named sets, folders, manifests, checks."""

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure, iter_pixels, load_pixels
from hetsearch.data.sources import open_source

__all__ = ["Failure", "ImageSet", "iter_pixels", "load_pixels", "open_source"]
