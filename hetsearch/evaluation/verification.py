"""TAR at FAR over all pairs, exactly and in little memory; TPIR at FPIR with probes that nobody matches.

Of n queries and m items there are n · m pairs; sorting their scores would need all of them at once. They are whole
multiples of 1e-9, so they are counted instead, twice: first by the upper half of their digits, then, where a threshold
lies, by the lower half. That gives the very thresholds of :func:`hetsearch.metrics.tar_at_far`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.sides import Sides
from hetsearch.evaluation.result import FARS, FPIRS, PointsRow
from hetsearch.metrics import Items, Verified, best_scores, tpir_at_fpir
from hetsearch.metrics.packing import UNIT, relevance_of, scores_of
from hetsearch.metrics.ranking import plan_of
from hetsearch.metrics.threshold import most_accepted
from hetsearch.space import Vectors

_LOWER = 15  # bits of a score that the second count tells apart
_OFFSET = 1 << 30  # makes every score of unit vectors, in units of 1e-9, positive
_BINS = 2 * _OFFSET >> _LOWER
_FINE = 1 << _LOWER
NO_PROBES = "every query has a relevant item: there is no probe to reject"
NO_MATED = "no query has a relevant item: there is no probe to name"

Pairs = Sequence[tuple[str, str]]


def verification_rows(pairs: Pairs, vectors: Mapping[str, Vectors], sides: Sides) -> tuple[PointsRow, ...]:
    """TAR at each FAR of the report, over all pairs of a query and an item that a ranking does not exclude.

    Where both sides hold the same images, each pair is met from both sides, so it counts twice.

    Args:
        pairs: names of the query and the gallery encoder.
        vectors: by encoder, of all images ``(images, dim)``.
        sides: the protocol.
    """
    rows = []
    for query, gallery in pairs:
        same, other, points = count_pairs(
            sides.query(vectors[query]), sides.gallery(vectors[gallery]), [float(far) for far in FARS]
        )
        unlike = None if same else "there is no pair of one class"
        why = [unlike or _too_few(other, far, "pairs of two classes") for far in FARS]
        counts = {"same_class_pairs": same, "other_pairs": other}
        rows.append(_row(query, gallery, counts, [f"tar@{far}" for far in FARS], points, why))
    return tuple(rows)


def open_set_rows(pairs: Pairs, vectors: Mapping[str, Vectors], sides: Sides) -> tuple[PointsRow, ...]:
    """TPIR at each FPIR of the report; queries without a relevant item are the probes to reject.

    Args:
        pairs: names of the query and the gallery encoder.
        vectors: by encoder, of all images ``(images, dim)``.
        sides: the protocol.
    """
    rows = []
    for query, gallery in pairs:
        best = best_scores(sides.query(vectors[query]), sides.gallery(vectors[gallery]))
        mated = best.positive > -np.inf
        others = best.negative[~mated & (best.negative > -np.inf)]
        shares = [float(share) for share in FPIRS]
        points = tpir_at_fpir(best.positive[mated], best.negative[mated], others, shares)
        unlike = NO_PROBES if not len(others) else None if mated.any() else NO_MATED
        why = [unlike or _too_few(len(others), share, "probes without a relevant item") for share in FPIRS]
        counts = {"mated_probes": int(mated.sum()), "non_mated_probes": len(others)}
        rows.append(_row(query, gallery, counts, [f"tpir@{share}" for share in FPIRS], points, why))
    return tuple(rows)


def count_pairs(query: Items, gallery: Items, fars: Sequence[float]) -> tuple[int, int, list[Verified | None]]:
    """Number of pairs of one class, of two classes, and the working point of each FAR.

    The same as :func:`hetsearch.metrics.tar_at_far` on all pairs' scores, without holding them: about 20 MB for any
    number of images, and every score computed twice.

    Args:
        query: the queries.
        gallery: the items, keys unique.
        fars: each above 0 and below 1.

    Returns:
        Counts, and for each FAR its point; None where too few pairs of two classes can show so small a rate, or there
        is no pair of one class.

    Raises:
        DataError: see :func:`hetsearch.metrics.ranked_relevance`.
    """
    upper = np.zeros((2, _BINS), dtype=np.int64)
    for codes, same in _codes(query, gallery):
        for side, chosen in enumerate((~same, same)):
            upper[side] += np.bincount(codes[chosen] >> _LOWER, minlength=_BINS)
    other, same_class = (int(count) for count in upper.sum(axis=1))
    ranks = [most_accepted(other, far) for far in fars]
    above = upper[:, ::-1].cumsum(axis=1)[:, ::-1]  # of this bin and the ones above it
    bins = {rank: int(np.flatnonzero(above[0] > rank)[-1]) for rank in ranks if rank and same_class}
    lower = _lower_counts(query, gallery, sorted(set(bins.values())))
    points: list[Verified | None] = []
    for rank in ranks:
        if rank not in bins:
            points.append(None)
            continue
        place = bins[rank]
        beyond = above[:, place + 1] if place + 1 < _BINS else np.zeros(2, dtype=np.int64)
        within = lower[place][:, ::-1].cumsum(axis=1)[:, ::-1]
        digit = int(np.flatnonzero(within[0] + beyond[0] > rank)[-1])
        accepted = beyond + (within[:, digit + 1] if digit + 1 < _FINE else 0)
        threshold = ((place << _LOWER) + digit - _OFFSET) / UNIT
        points.append(Verified(int(accepted[0]) / other, threshold, int(accepted[1]) / same_class))
    return same_class, other, points


def _row(
    query: str,
    gallery: str,
    counts: dict[str, int],
    names: Sequence[str],
    points: Sequence[tuple[float, float, float] | None],
    why: Sequence[str],
) -> PointsRow:
    """The row of the report; each point is the rate of false ones, the threshold, the rate of right ones."""
    found = dict(zip(names, points, strict=True))
    rates, reached, thresholds = (
        {name: None if point is None else point[place] for name, point in found.items()} for place in (2, 0, 1)
    )
    reasons = {name: reason for name, reason in zip(names, why, strict=True) if found[name] is None}
    return PointsRow(query, gallery, counts, rates, reached, thresholds, reasons)


def _lower_counts(query: Items, gallery: Items, bins: Sequence[int]) -> dict[int, NDArray[np.int64]]:
    """Of each of the upper bins: pairs of two classes and of one, by the lower bits."""
    counts = {place: np.zeros((2, _FINE), dtype=np.int64) for place in bins}
    for codes, same in _codes(query, gallery) if bins else ():
        places = codes >> _LOWER
        for place, found in counts.items():
            inside = places == place
            for side, chosen in enumerate((inside & ~same, inside & same)):
                found[side] += np.bincount(codes[chosen] & (_FINE - 1), minlength=_FINE)
    return counts


def _codes(query: Items, gallery: Items) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Scores as whole numbers of 1e-9 above the lowest, and which are of one class; a block of queries at a time."""
    for _, packed in plan_of(query, gallery).blocks():
        scores = scores_of(packed)
        kept = ~np.isnan(scores)
        yield np.rint(scores[kept] * UNIT).astype(np.int64) + _OFFSET, relevance_of(packed)[kept]


def _too_few(n: int, share: str, what: str) -> str:
    return f"{n:,} {what} cannot show a rate of {share}"
