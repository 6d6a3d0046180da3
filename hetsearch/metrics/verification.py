"""1:1 verification: are these two images of the same class? TAR at a given FAR.

Both rates are shares of pairs: of same-class pairs accepted (TAR), of other pairs accepted (FAR).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hetsearch.metrics.packing import relevance_of, scores_of
from hetsearch.metrics.ranking import Items, plan_of
from hetsearch.metrics.threshold import finite_scores, strict_threshold


class Verified(NamedTuple):
    """One working point of a verification."""

    far: float  # reached, at most what was asked for
    threshold: float  # a pair is accepted if it scores above, not if it equals
    tar: float


class PairScores(NamedTuple):
    """Rounded scores of all pairs that are not excluded."""

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]


def tar_at_far(positive: NDArray[Any], negative: NDArray[Any], fars: Sequence[float]) -> list[Verified | None]:
    """The largest share of positive pairs accepted while at most each share of negative pairs is.

    A pair is accepted if it scores strictly above the threshold, the lowest one that keeps FAR ≤ x. Code in
    use takes the point of scikit-learn's ``roc_curve`` whose FAR is nearest to x, which may lie above x
    (insightface, ``eval_ijbc.py``, and MixBCT), and open-metric-learning a percentile of the negatives.

    Args:
        positive: ``(n,)``, scores of pairs of one class.
        negative: ``(m,)``, scores of pairs of two classes.
        fars: each above 0 and below 1.

    Returns:
        One for each of ``fars``; None where m · x < 1, for m pairs cannot show so small a rate, and where
        there is no positive pair.

    Raises:
        UsageError: a FAR of 0 or less, or of 1 or more.
        DataError: scores of another shape, or not finite.

    >>> same, other = np.array([0.9, 0.8, 0.3]), np.array([0.8, 0.3, 0.2, 0.1])
    >>> tar_at_far(same, other, [0.25, 0.1])
    [Verified(far=0.25, threshold=0.3, tar=0.6666666666666666), None]
    """
    positive = finite_scores(positive, "positive pairs")
    negative = finite_scores(negative, "negative pairs")
    points: list[Verified | None] = []
    for asked in fars:
        threshold = strict_threshold(negative, asked)
        if threshold is None or not len(positive):
            points.append(None)
            continue
        far, tar = (float(np.mean(side > threshold)) for side in (negative, positive))
        points.append(Verified(far, threshold, tar))
    return points


def pair_scores(query: Items, gallery: Items) -> PairScores:
    """The scores of every query with every item, apart by same and other label.

    What a ranking excludes (equal keys, the query's group) is left out. Where both sides hold the same images,
    each pair comes twice, once from each side; between two encoders these are two different scores.

    Args:
        query: the queries.
        gallery: the items, keys unique.

    Returns:
        Both kinds; together 8 bytes a pair, so for large sets give a part of the queries.

    Raises:
        DataError: see :func:`~hetsearch.metrics.ranked_relevance`.

    >>> items = Items(np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]), labels=list("aab"), keys=[0, 1, 2])
    >>> [side.tolist() for side in pair_scores(items, items)]
    [[0.6, 0.6], [0.0, 0.8, 0.0, 0.8]]
    """
    kinds: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([np.empty(0)], [np.empty(0)])
    for _, packed in plan_of(query, gallery).blocks():
        scores, relevant = scores_of(packed), relevance_of(packed)
        kinds[0].append(scores[relevant])
        kinds[1].append(scores[~relevant & ~np.isnan(scores)])
    return PairScores(np.concatenate(kinds[0]), np.concatenate(kinds[1]))
