"""Search a gallery with pictures."""

from __future__ import annotations

from collections.abc import Sequence

from hetsearch.gallery import Gallery, Hits
from hetsearch.gallery.hits import Where
from hetsearch.preprocess import ImageLike
from hetsearch.runtime import Encoder
from hetsearch.space import Embeddings


def search(
    encoder: Encoder,
    gallery: Gallery,
    images: ImageLike | Sequence[ImageLike] | Embeddings,
    k: int = 10,
    where: Where | None = None,
) -> list[Hits]:
    """Embed pictures and find the nearest items of each.

    Args:
        encoder: of the gallery's space.
        gallery: what to search.
        images: one picture or many, or vectors that are embedded already.
        k: hits a query.
        where: search only among items of which a field has one of these values.

    Returns:
        For each query its hits, see :meth:`hetsearch.gallery.Gallery.search`.

    Raises:
        SpaceMismatch: encoder or vectors lie in another space than the gallery; no picture is read then.
        ImageError: a picture cannot be read.
        UsageError: ``k`` is below 1, or ``where`` names an unknown field.
    """
    gallery.require_query(encoder.space, what="the query encoder and the gallery")
    query = images if isinstance(images, Embeddings) else encoder.encode(images)
    return gallery.search(query, k, where)
