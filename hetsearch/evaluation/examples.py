"""Real queries with their first hits, failures included: for the eye."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.sides import Sides
from hetsearch.evaluation.result import Example
from hetsearch.metrics import Items, first_hits
from hetsearch.space import Vectors

QUERIES = 12
HITS = 5
SEED = 20261122


def pick_examples(
    query: Vectors,
    gallery: Vectors,
    sides: Sides,
    scored: NDArray[np.int64],
    right: NDArray[np.float64],
    *,
    count: int = QUERIES,
    hits: int = HITS,
) -> tuple[Example, ...]:
    """Choose queries, half of them failures where there are any, of as many classes as possible.

    Args:
        query: vectors of all images by the query encoder, ``(images, dim)``.
        gallery: vectors of all images by the gallery encoder, ``(images, dim)``.
        sides: the protocol.
        scored: rows of the queries that have positives, ``(n_queries,)``.
        right: ``(n_queries,)``, 1 where the first hit is relevant.
        count: how many queries.
        hits: how many hits of each.

    Returns:
        Failures first. The choice depends on nothing but its arguments.
    """
    asked, items = sides.query(query), sides.gallery(gallery)
    shuffled = np.random.default_rng(SEED).permutation(len(scored))
    labels = np.asarray(asked.labels)[scored]
    wrong = _spread([i for i in shuffled if not right[i]], labels)
    good = _spread([i for i in shuffled if right[i]], labels)
    failures = wrong[: max(count // 2, count - len(good))]
    chosen = scored[np.array(failures + good[: count - len(failures)], dtype=np.int64)]
    few = Items(*(None if column is None else np.asarray(column)[chosen] for column in vars(asked).values()))  # type: ignore[arg-type]
    examples = []
    for block, order, scores in first_hits(few, items, hits):
        for row, found, values in zip(chosen[block], order, scores, strict=True):
            examples.append(_example(int(row), found, values, asked, items))
    return tuple(examples)


def _spread(indices: Sequence[int], labels: NDArray[np.str_]) -> list[int]:
    """The same indices, one of each class, then a second of each class, and so on."""
    seen: dict[str, int] = {}
    turn = {}
    for index in indices:
        turn[int(index)] = seen[str(labels[index])] = seen.get(str(labels[index]), -1) + 1
    return sorted(turn, key=lambda index: turn[index])  # stable: the shuffled order within a turn


def _example(
    row: int, found: NDArray[np.int64], scores: NDArray[np.float64], asked: Items, items: Items
) -> Example:
    keys, labels = (np.asarray(column) for column in (items.keys, items.labels))
    hits = tuple(
        (str(keys[item]), str(labels[item]), float(value))
        for item, value in zip(found, scores, strict=True)
        if item >= 0
    )
    return Example(str(np.asarray(asked.keys)[row]), str(np.asarray(asked.labels)[row]), hits)
