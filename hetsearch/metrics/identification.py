"""1:N identification in an open set: is the class of this image enrolled, and which one is it? TPIR at FPIR.

A probe is mated if its class is in the gallery, else non-mated; a system must name the first and reject the
second. Grother, Ngan: "Face Recognition Vendor Test: Performance of Face Identification Algorithms" (NIST
IR 8009, 2014), at rank 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError
from hetsearch.metrics.packing import relevance_of, scores_of
from hetsearch.metrics.ranking import Items, plan_of
from hetsearch.metrics.threshold import finite_scores, strict_threshold


class Identified(NamedTuple):
    """One working point of an identification."""

    fpir: float  # reached, at most what was asked for
    threshold: float  # a probe is named if its best item scores above, not if it equals
    tpir: float


class BestScores(NamedTuple):
    """The best rounded score of each query, ``(queries,)``; -inf where there is no such item."""

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]


def tpir_at_fpir(
    positive: NDArray[Any], negative: NDArray[Any], non_mated: NDArray[Any], fpirs: Sequence[float]
) -> list[Identified | None]:
    """The share of mated probes named rightly, while at most each share of non-mated probes is named at all.

    A hit is a mated probe whose best positive scores strictly above its best negative and strictly above the
    threshold: ties fail. The threshold is the lowest that keeps FPIR ≤ x, with N non-mated probes the score
    of rank floor(N · x) + 1 among theirs. (Code in use for IJB-C takes rank max(floor(N · x), 1), one more
    strict than needed, and where N · x < 1 silently the single best impostor.)

    Args:
        positive: ``(mated,)``, best score of each mated probe with an item of its own class.
        negative: ``(mated,)``, its best score with any other item; -inf where there is none.
        non_mated: ``(n,)``, best score of each non-mated probe.
        fpirs: each above 0 and below 1.

    Returns:
        One for each of ``fpirs``; None where n · x < 1, for n probes cannot show so small a rate, and where
        there is no mated probe.

    Raises:
        UsageError: an FPIR of 0 or less, or of 1 or more.
        DataError: scores of different shapes, or not finite.

    >>> own, others = np.array([0.9, 0.8, 0.7]), np.array([0.2, 0.8, 0.1])
    >>> tpir_at_fpir(own, others, np.array([0.95, 0.6, 0.5, 0.4]), [0.25, 0.1])
    [Identified(fpir=0.25, threshold=0.6, tpir=0.6666666666666666), None]
    """
    positive = finite_scores(positive, "mated probes")
    negative = np.asarray(negative, dtype=np.float64)
    non_mated = finite_scores(non_mated, "non-mated probes")
    if negative.shape != positive.shape or not (negative < np.inf).all():  # not >=, so that NaN is refused too
        raise DataError(
            "best negatives of mated probes are wrong",
            observed=f"shape {negative.shape} beside {positive.shape} positives",
            expected="one for each probe, finite or -inf",
        )
    first = positive > negative
    points: list[Identified | None] = []
    for asked in fpirs:
        threshold = strict_threshold(non_mated, asked)
        if threshold is None or not len(positive):
            points.append(None)
            continue
        fpir = float(np.mean(non_mated > threshold))
        tpir = float(np.mean(first & (positive > threshold)))
        points.append(Identified(fpir, threshold, tpir))
    return points


def best_scores(query: Items, gallery: Items) -> BestScores:
    """The best positive and the best negative score of each query; queries without positives are non-mated.

    What a ranking excludes (equal keys, the query's group) is left out. A query with nothing left, -inf on
    both sides, is no probe: leave it out.

    Args:
        query: the queries, mated and non-mated.
        gallery: the enrolled items, keys unique.

    Raises:
        DataError: see :func:`~hetsearch.metrics.ranked_relevance`.

    >>> probes = Items(np.array([[1.0, 0.0], [0.0, 1.0]]), labels=["cat", "owl"])
    >>> enrolled = Items(np.array([[0.8, 0.6], [0.6, 0.8]]), labels=["cat", "dog"])
    >>> [side.tolist() for side in best_scores(probes, enrolled)]
    [[0.8, -inf], [0.6, 0.8]]
    """
    best = BestScores(np.full(len(query), -np.inf), np.full(len(query), -np.inf))
    for block, packed in plan_of(query, gallery).blocks():
        scores, relevant = scores_of(packed), relevance_of(packed)
        best.positive[block] = np.where(relevant, scores, -np.inf).max(axis=1, initial=-np.inf)
        rest = relevant | np.isnan(scores)
        best.negative[block] = np.where(rest, -np.inf, scores).max(axis=1, initial=-np.inf)
    return best
