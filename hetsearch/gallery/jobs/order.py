"""In which order a back-fill takes the items: by chance, or those first that are expected to gain the most."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import UsageError, nearest
from hetsearch.gallery.embedding.shards import Rows, ShardSet
from hetsearch.gallery.ids import Ids
from hetsearch.gallery.jobs.diff import Known
from hetsearch.space import EmbeddingSpace, Vectors

Scores = NDArray[np.float64]


def ranking(ids: Ids, scores: Scores) -> Rows:
    """Rows by score, the smallest first, then by id: ids are hashes, so among equal scores chance decides."""
    return np.lexsort((ids, scores))


def margins(vectors: Vectors, space: EmbeddingSpace) -> Scores:
    """How clearly older vectors belong to one class of the new space: the smaller, the more a new vector should gain.

    New queries of a class gather around its row of the new classifier ``W``. An older vector between two rows is found
    late by its own class's queries and early by another's. FastFill orders by the error that a trained map predicts of
    itself ("FastFill: Efficient Compatible Model Update", Jaeckle et al., ICLR 2023); this needs nothing that is not
    there when the new encoder is put in front, neither labels nor a new vector. It is not better than chance for every
    pair of encoders and by every metric: ``hetsearch evaluate --upgrade-from`` measures it.

    Args:
        vectors: ``(n, dim)``, of the older space.
        space: the new one.

    Returns:
        ``(n,)``: the cosine to the nearest row of ``W`` less that to the second nearest.

    Raises:
        UsageError: the space has no classifier of two classes or more.
    """
    if space.classifier is None or len(space.classes) < 2:
        raise UsageError(
            f"the order 'gain' needs the classifier of the space {space.id}",
            observed="none" if space.classifier is None else f"{len(space.classes)} class",
            hint="Use --order random.",
        )
    nearest_two = np.partition(vectors @ space.classifier.T, -2, axis=1)[:, -2:].astype(np.float64)
    gaps: Scores = nearest_two[:, 1] - nearest_two[:, 0]
    return gaps


def _by_chance(shards: ShardSet, known: Known, space: EmbeddingSpace | None) -> Scores:
    return np.zeros(len(known.ids))


def _by_gain(shards: ShardSet, known: Known, space: EmbeddingSpace | None) -> Scores:
    if space is None:
        raise UsageError("the order 'gain' needs the new space", hint="Name its folder with --space.")
    scores = np.full(len(known.ids), np.inf)
    for shard in shards.of(entry for entry in shards.manifest.shards if entry.space):
        scores[known.find(shard.ids)] = margins(shard.vectors, space)
    return scores


# Each gives a score for every item that a gallery knows, ``(n,)``; the smallest of an older space come first.
ORDERS: dict[str, Callable[[ShardSet, Known, EmbeddingSpace | None], Scores]] = {
    "random": _by_chance,
    "gain": _by_gain,
}


def require_order(name: str) -> None:
    """Refuse an unknown order.

    Raises:
        UsageError: so it is; the known ones are named.
    """
    if name not in ORDERS:
        raise UsageError(f"there is no order '{name}'", hint=nearest(name, ORDERS))
