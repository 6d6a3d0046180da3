"""Any number of encoders, from the oldest to the newest: who may query whose gallery?

Vectors of different encoders are compared here on purpose: whether that is worth anything is the question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.sides import Sides
from hetsearch.errors import DataError, UsageError, nearest
from hetsearch.evaluation.result import METRICS, Interval
from hetsearch.evaluation.scores import Scores, score
from hetsearch.metrics import (
    average_compatibility,
    criterion_matrix,
    difference_interval,
    mean_interval,
    update_gain,
)
from hetsearch.space import Vectors, check_vectors

NO_FREE = "no free encoder of this generation was given"


@dataclass(frozen=True)
class UpgradeMatrix:
    """M(query encoder, gallery encoder) over generations, oldest first, and what follows from it.

    Attributes:
        metric: which.
        values: ``(T, T)``; row t is the query encoder, column k the gallery's. NaN where the dimensions differ.
        intervals: ``(t, k)`` → 95 % interval of that cell.
        compatible: ``(t, k)`` with k < t → M(t, k) > M(k, k), strictly; None where it is not defined.
        differences: ``(t, k)`` → M(t, k) - M(k, k) and its paired 95 % interval.
        average: share of the pairs k < t that are compatible; None where a pair is not defined, or T is 1.
        gains: ``(t, k)`` → update gain; None where it is not defined.
        free: t → M(t*, t*) of the encoder trained without regard to older ones.
        n_queries: queries that were scored.
        reasons: by ``average``, ``M(t,k)``, ``compatible(t,k)`` and ``gain(t,k)``: why something is None.
    """

    metric: str
    values: NDArray[np.float64]
    intervals: dict[tuple[int, int], Interval]
    compatible: dict[tuple[int, int], bool | None]
    differences: dict[tuple[int, int], tuple[float, Interval]]
    average: float | None
    gains: dict[tuple[int, int], float | None]
    free: dict[int, float]
    n_queries: int
    reasons: dict[str, str] = field(default_factory=dict)

    def as_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """As JSON, the encoders by name.

        Args:
            names: of the encoders, oldest first.
        """
        pairs = [
            {
                "query": names[t],
                "gallery": names[k],
                "compatible": self.compatible[t, k],
                "difference": self.differences[t, k][0] if (t, k) in self.differences else None,
                "difference_ci": list(self.differences[t, k][1]) if (t, k) in self.differences else None,
                "update_gain": self.gains[t, k],
            }
            for t, k in self.compatible
        ]
        return {
            "metric": self.metric,
            "encoders": list(names),
            "n_queries": self.n_queries,
            "matrix": self.values.tolist(),
            "average_compatibility": self.average,
            "pairs": pairs,
            "free": {names[t]: value for t, value in self.free.items()},
            "reasons": self.reasons,
        }


def compatibility_matrix(
    vectors: Sequence[Vectors],
    sides: Sides,
    metric: str = "map",
    free: Mapping[int, Vectors] | None = None,
) -> UpgradeMatrix:
    """Measure every pair of encoders by one metric: see :func:`compatibility_matrices`."""
    return compatibility_matrices(vectors, sides, (metric,), free)[metric]


def compatibility_matrices(
    vectors: Sequence[Vectors],
    sides: Sides,
    metrics: Sequence[str] = METRICS,
    free: Mapping[int, Vectors] | None = None,
) -> dict[str, UpgradeMatrix]:
    """Measure every pair of encoders once, and judge each newer one against each older gallery by every metric.

    Args:
        vectors: of all images ``(images, dim)``, one encoder after another, the oldest first; their dimensions may
            differ, then those pairs have no number.
        sides: the protocol.
        metrics: among ``p@1``, ``r@10``, ``map`` and ``map@r``.
        free: generation → vectors of its free encoder, for the update gain.

    Returns:
        A matrix by metric.

    Raises:
        UsageError: fewer than two encoders, an unknown metric, or a free encoder of a generation that is not there.
        DataError: vectors of other images than the protocol's, or no query has a relevant item.
    """
    free = dict(free or {})
    _check(vectors, sides, metrics, free)
    cells = {
        (t, k): score(sides.query(query), sides.gallery(gallery))
        for t, query in enumerate(vectors)
        for k, gallery in enumerate(vectors)
        if query.shape[1] == gallery.shape[1]
    }
    if not cells[0, 0].n_queries:
        raise DataError("no query has a relevant item", hint="Each label needs a query and, besides it, an item.")
    ceilings = {t: score(sides.query(own), sides.gallery(own)).means() for t, own in free.items()}
    undefined = {
        f"M({t},{k})": f"dimensions {query.shape[1]} and {gallery.shape[1]} differ"
        for t, query in enumerate(vectors)
        for k, gallery in enumerate(vectors)
        if (t, k) not in cells
    }
    return {
        metric: _matrix(metric, len(vectors), cells, {t: means[metric] for t, means in ceilings.items()}, undefined)
        for metric in metrics
    }


def _matrix(
    metric: str,
    generations: int,
    cells: Mapping[tuple[int, int], Scores],
    ceilings: dict[int, float],
    undefined: Mapping[str, str],
) -> UpgradeMatrix:
    scored = {pair: cell.values[metric] for pair, cell in cells.items()}
    values = np.full((generations, generations), np.nan)
    for pair, row in scored.items():
        values[pair] = row.mean()
    reasons = dict(undefined)
    pairs = [(t, k) for t in range(generations) for k in range(t)]
    return UpgradeMatrix(
        metric=metric,
        values=values,
        intervals={pair: mean_interval(row) for pair, row in scored.items()},
        compatible=_criterion(values, pairs, reasons),
        differences={
            (t, k): (float(values[t, k] - values[k, k]), difference_interval(scored[t, k], scored[k, k]))
            for t, k in pairs
            if (t, k) in cells
        },
        average=_average(values, pairs, reasons),
        gains={(t, k): _gain(values, t, k, ceilings, reasons) for t, k in pairs},
        free=ceilings,
        n_queries=cells[0, 0].n_queries,
        reasons=reasons,
    )


def _check(vectors: Sequence[Vectors], sides: Sides, metrics: Sequence[str], free: Mapping[int, Vectors]) -> None:
    if len(vectors) < 2:
        raise UsageError("there is nothing to upgrade from", observed=f"{len(vectors)} encoder(s)", expected="two")
    for metric in (name for name in metrics if name not in METRICS):
        raise UsageError("the metric is unknown", observed=f"'{metric}'", hint=nearest(metric, METRICS))
    for generation in free:
        if not 0 <= generation < len(vectors):
            expected = f"0 to {len(vectors) - 1}"
            raise UsageError("a free encoder is of no generation", observed=generation, expected=expected)
    every = [*enumerate(vectors), *free.items()]
    for place, (generation, rows) in enumerate(every):
        what = f"the vectors of {'free ' if place >= len(vectors) else ''}encoder {generation}"
        if np.ndim(rows) != 2 or len(rows) != len(sides.keys):
            expected = f"({len(sides.keys)}, dim)"
            raise DataError(f"{what} are not of the images", observed=np.shape(rows), expected=expected)
        check_vectors(rows, rows.shape[1], what=what)


def _criterion(
    values: NDArray[np.float64], pairs: Sequence[tuple[int, int]], reasons: dict[str, str]
) -> dict[tuple[int, int], bool | None]:
    # A pair without a number is put to 0 for the reckoning and told as undefined.
    met = criterion_matrix(np.nan_to_num(values))
    found: dict[tuple[int, int], bool | None] = {}
    for t, k in pairs:
        found[t, k] = None if np.isnan(values[t, k]) else bool(met[t, k])
        if found[t, k] is None:
            reasons[f"compatible({t},{k})"] = reasons[f"M({t},{k})"]
    return found


def _average(
    values: NDArray[np.float64], pairs: Sequence[tuple[int, int]], reasons: dict[str, str]
) -> float | None:
    undefined = [pair for pair in pairs if np.isnan(values[pair])]
    if undefined:
        t, k = undefined[0]
        reasons["average"] = f"M({t},{k}) is not defined: {reasons[f'M({t},{k})']}"
        return None
    return average_compatibility(np.nan_to_num(values))


def _gain(
    values: NDArray[np.float64], t: int, k: int, ceilings: Mapping[int, float], reasons: dict[str, str]
) -> float | None:
    name = f"gain({t},{k})"
    if np.isnan(values[t, k]):
        reasons[name] = reasons[f"M({t},{k})"]
        return None
    if t not in ceilings:
        reasons[name] = NO_FREE
        return None
    gain = update_gain(float(values[t, k]), float(values[k, k]), ceilings[t])
    if gain is None:
        reasons[name] = f"the free encoder's {ceilings[t]:.4f} is not above the old one's {values[k, k]:.4f}"
    return gain
