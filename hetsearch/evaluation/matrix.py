"""The matrix M(query, gallery): which pairs, their numbers a query, and means with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hetsearch.data.sides import Sides
from hetsearch.evaluation.result import METRICS, MatrixRow
from hetsearch.evaluation.scores import Scores, score
from hetsearch.metrics import bootstrap_means, interval
from hetsearch.space import Vectors


class Pair(NamedTuple):
    """One cell of the matrix, by the encoders' names."""

    query: str
    gallery: str
    kind: str  # paragon, homogeneous, heterogeneous, baseline, control


def pairs_of(
    gallery: str, queries: Sequence[str], free: Sequence[str], controls: Sequence[str]
) -> list[Pair]:
    """The cells that are measured, in the order of the report.

    Args:
        gallery: the gallery encoder.
        queries: the query encoders.
        free: the free encoders.
        controls: those of ``free`` whose vectors have the gallery's dimension.
    """
    pairs = [Pair(gallery, gallery, "paragon")]
    for query in queries:
        pairs += [Pair(query, query, "homogeneous"), Pair(query, gallery, "heterogeneous")]
    for name in free:
        pairs.append(Pair(name, name, "baseline"))
        if name in controls:
            pairs.append(Pair(name, gallery, "control"))
    return pairs


def score_pairs(pairs: Sequence[Pair], vectors: Mapping[str, Vectors], sides: Sides) -> dict[Pair, Scores]:
    """Score every cell.

    Args:
        pairs: the cells.
        vectors: by encoder, of all images ``(images, dim)``.
        sides: the protocol.
    """
    return {
        pair: score(sides.query(vectors[pair.query]), sides.gallery(vectors[pair.gallery])) for pair in pairs
    }


def matrix_rows(scores: Mapping[Pair, Scores]) -> tuple[MatrixRow, ...]:
    """Means and 95 % intervals of every cell, all from the same bootstrap draws of queries."""
    columns = [cell.values[metric] for cell in scores.values() for metric in METRICS]
    draws = bootstrap_means(np.stack(columns, axis=1)).T.reshape(len(scores), len(METRICS), -1)
    rows = []
    for (pair, cell), samples in zip(scores.items(), draws, strict=True):
        means = cell.means()
        intervals = {metric: interval(row) for metric, row in zip(METRICS, samples, strict=True)}
        rows.append(MatrixRow(*pair, {metric: means[metric] for metric in METRICS}, intervals))
    return tuple(rows)
