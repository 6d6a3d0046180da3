"""What the index that was chosen on a sample finds among all vectors, once it is built.

An estimate from a sample may be far off: among twenty times as many vectors the nearest ten lie in other lists. So the
finished index is searched, its answers are compared with an exact scan of the shards, and its setting of search is
raised, which needs no building, until it finds what was asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hetsearch.gallery.choosing.choice import Choice, Confirmed
from hetsearch.gallery.choosing.choose import DEPTH, latency_of, sample_of
from hetsearch.gallery.choosing.faiss_candidates import kinds
from hetsearch.gallery.embedding.shards import ShardSet
from hetsearch.gallery.gallery import TIE_MARGIN
from hetsearch.gallery.ids import Ids
from hetsearch.gallery.stores.faiss_store import FaissStore
from hetsearch.space import Vectors

QUERIES = 200  # of the gallery's vectors; each finds itself first, which does not count
AT_ONCE = 4  # settings that one scan of the shards judges; the dearest search nearly everything, and are seldom needed


def confirm(store: FaissStore, shards: ShardSet, choice: Choice) -> Choice:
    """Measure the chosen index among all vectors, and give it the cheapest setting that finds enough.

    Args:
        store: it, with every vector.
        shards: the vectors.
        choice: by which it was made. A ``UserWarning`` says where its limits are not met after all.

    Returns:
        The choice with what was measured, and with the setting that ``store`` now has.
    """
    queries = sample_of(shards, QUERIES)
    description, _, present = choice.factory.partition("@")
    settings = _from(description, present, queries.shape[1], choice.count)
    recalls: list[float] = []
    for start in range(0, len(settings), AT_ONCE):
        answers = []
        for setting in settings[start : start + AT_ONCE]:
            if setting:
                store.configure(setting)
            answers.append(store.search(queries, min(DEPTH + 1, len(store)))[0])
        recalls += _recalls(shards, queries, answers)
        if max(recalls) >= choice.limits.min_recall:
            break
    enough = [place for place, recall in enumerate(recalls) if recall >= choice.limits.min_recall]
    place = enough[0] if enough else int(np.argmax(recalls))
    if settings[place]:
        store.configure(settings[place])
    latency = latency_of(store, queries)
    found = Confirmed(recalls[place], latency, len(queries))
    if missed := choice.limits.missed(0, latency, found.recall):
        limits = " and ".join(f"--{name.replace('_', '-')}" for name in missed)
        warnings.warn(
            f"the index is built, but does not meet {limits}: among all {len(store):,} vectors it has recall@10 of "
            f"{found.recall:.3f} and takes {latency:.3f} ms a query, where {choice.limits} was asked for. Build it "
            "again with another --factory, or with other limits",
            stacklevel=7,  # whoever called build_gallery
        )
    factory = f"{description}@{settings[place]}" if settings[place] else description
    return replace(choice, factory=factory, confirmed=found)


def _from(description: str, present: str, dim: int, count: int) -> tuple[str, ...]:
    """The setting that was chosen, and all that cost more."""
    families = (kind.settings for kind in kinds(dim, count, count) if kind.factory(count) == description)
    settings = next(families, (present,))  # another version may have chosen among others
    return settings[settings.index(present) :]


def _recalls(shards: ShardSet, queries: Vectors, answers: Sequence[Ids]) -> list[float]:
    """For each answer the share of the exact first ten in it; by score, since of two equal pictures either is right."""
    found, best = np.concatenate(answers, axis=1), np.empty((len(queries), 0), dtype=np.float32)
    scores: NDArray[np.float32] = np.full(found.shape, -np.inf, dtype=np.float32)
    for ids, vectors, _ in shards.records():
        order = np.argsort(ids)
        places = order[np.minimum(np.searchsorted(ids, found, sorter=order), len(ids) - 1)]
        exact = queries @ vectors.T
        here = ids[places] == found
        scores[here] = np.take_along_axis(exact, places, axis=1)[here]
        best = np.concatenate([best, exact], axis=1)
        depth = min(DEPTH + 1, best.shape[1])
        best = np.partition(best, best.shape[1] - depth, axis=1)[:, best.shape[1] - depth :]
    right = scores >= best.min(axis=1)[:, None] - TIE_MARGIN
    others = max(best.shape[1] - 1, 1)
    width = found.shape[1] // len(answers)
    counts = right.reshape(len(queries), len(answers), width).sum(axis=2)
    return [float(np.maximum(column - 1, 0).mean() / others) for column in counts.T]
