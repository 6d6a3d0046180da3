"""All vectors of a gallery with their keys, for what learns from them or compares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hetsearch.errors import SpaceMismatch
from hetsearch.gallery.card import EMBEDDINGS, GalleryCard, in_one_generation
from hetsearch.gallery.embedding.shards import open_shards
from hetsearch.space import Embeddings


def load_embeddings(gallery: Path) -> Embeddings:
    """Read the embedding shards of a gallery, each verified, into memory.

    Args:
        gallery: a gallery folder.

    Raises:
        UsageError: there is no gallery.
        SpaceMismatch: it holds vectors of several spaces, because it is being upgraded.
        DamagedArtifact: a shard is not what its checksum says.
    """
    return in_one_generation(gallery, lambda card: _loaded(gallery, card))


def _loaded(gallery: Path, card: GalleryCard) -> Embeddings:
    if card.spaces:
        raise SpaceMismatch(
            f"the vectors of '{gallery}' are of several spaces",
            observed=", ".join(f"{count:,} of {space}" for space, count in card.spaces.items()),
            expected=f"all of {card.space}",
            hint="Finish the upgrade: hetsearch index upgrade GALLERY --backfill.",
        )
    shards = list(open_shards(gallery / EMBEDDINGS, card.generation))
    vectors = np.concatenate([np.empty((0, card.dim), dtype=np.float32), *(shard.vectors for shard in shards)])
    return Embeddings(vectors, card.space, tuple(key for shard in shards for key in shard.keys))
