"""An upgrade of the gallery encoder: quality against the share of the gallery that is embedded again, and its area.

New queries are searched among vectors of which some are the older gallery encoder's and some the new one's, which is
what a gallery holds between ``hetsearch index upgrade`` and the end of its back-fill.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.sides import Sides
from hetsearch.errors import UsageError
from hetsearch.evaluation.result import METRICS, BackfillRow
from hetsearch.evaluation.scores import Scores, score
from hetsearch.gallery.ids import stable_ids
from hetsearch.gallery.jobs.order import margins, ranking
from hetsearch.metrics import difference_interval, mean_interval
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import EmbeddingSpace, Vectors

STEPS = 10  # between nothing and everything
CHANCE = "random"  # the order that the others are compared with

Rows = NDArray[np.int64]


def require_older(older: Encoder, gallery: Encoder) -> None:
    """Refuse an older gallery encoder that the new one's queries cannot be compared with.

    Raises:
        UsageError: it is of the same space, or its vectors have another length.
    """
    if older.space == gallery.space:
        raise UsageError(
            f"'{older.name}' is no older gallery encoder", observed=f"the new one's space {older.space}",
            expected="a space of its own",
        )  # fmt: skip
    if older.dim != gallery.dim:
        raise UsageError(
            f"vectors of '{older.name}' and '{gallery.name}' cannot be compared", observed=f"{older.dim} numbers",
            expected=f"{gallery.dim}",
        )  # fmt: skip


def orders_of(sides: Sides, before: Vectors, space: EmbeddingSpace | None) -> dict[str, Rows]:
    """The items in each order of a back-fill, as rows of the images; ``gain`` only where a classifier is known.

    Args:
        sides: the protocol.
        before: the older encoder's vectors of all images, ``(images, dim)``.
        space: the new gallery encoder's.
    """
    rows = sides.gallery_rows
    ids = stable_ids(sides.keys[rows].tolist())
    orders = {CHANCE: rows[ranking(ids, np.zeros(len(rows)))]}
    if space is not None and space.classifier is not None and len(space.classes) > 1:
        orders["gain"] = rows[ranking(ids, margins(before[rows], space))]
    return orders


def backfill_rows(
    queries: Mapping[str, Vectors],
    before: Vectors,
    after: Vectors,
    sides: Sides,
    orders: Mapping[str, Rows],
    steps: int = STEPS,
) -> tuple[BackfillRow, ...]:
    """Measure each query encoder at each share, in each order.

    Args:
        queries: by query encoder, its vectors of all images, ``(images, dim)``.
        before: the older gallery encoder's.
        after: the new gallery encoder's.
        sides: the protocol.
        orders: of the items, as rows of the images; ``random`` is among them.
        steps: between the first share, 0, and the last, 1.

    Returns:
        A row for each query encoder and order. The area is that under the curve, by trapezoids: the mean quality while
        the back-fill runs at a steady pace. (FastFill's code takes the mean of the points instead.)
    """
    cuts = [round(step * len(sides.gallery_rows) / steps) for step in range(steps + 1)]
    means = score(sides.query(before), sides.gallery(before)).means()
    former = {metric: means[metric] for metric in METRICS}
    found = []
    for name, vectors in queries.items():
        ends = {0: before, cuts[-1]: after}
        known = {cut: score(sides.query(vectors), sides.gallery(held)) for cut, held in ends.items()}
        chance: dict[str, NDArray[np.float64]] | None = None
        for order in sorted(orders, key=lambda order: order != CHANCE):
            cells = [known.get(cut) or _mixed(vectors, before, after, sides, orders[order][:cut]) for cut in cuts]
            row, areas = _row(name, order, cuts, cells, former, chance)
            chance = chance or areas
            found.append(row)
    return tuple(found)


def _mixed(query: Vectors, before: Vectors, after: Vectors, sides: Sides, renewed: Rows) -> Scores:
    held = before.copy()
    held[renewed] = after[renewed]
    return score(sides.query(query), sides.gallery(held))


def _row(
    query: str,
    order: str,
    cuts: list[int],
    cells: list[Scores],
    former: dict[str, float],
    chance: dict[str, NDArray[np.float64]] | None,
) -> tuple[BackfillRow, dict[str, NDArray[np.float64]]]:
    """The row, and each query's own area by metric: areas of two orders are compared query by query."""
    shares = np.array(cuts) / cuts[-1]
    values = {metric: np.stack([cell.values[metric] for cell in cells]) for metric in METRICS}
    areas = {m: np.diff(shares) @ (rows[1:] + rows[:-1]) / 2 for m, rows in values.items()}
    differences = None if chance is None else {m: _difference(areas[m], chance[m]) for m in METRICS}
    row = BackfillRow(
        query=query,
        order=order,
        shares=tuple(shares.tolist()),
        metrics={metric: tuple(rows.mean(axis=1).tolist()) for metric, rows in values.items()},
        intervals={metric: tuple(map(mean_interval, rows)) for metric, rows in values.items()},
        former=former,
        areas={metric: float(area.mean()) for metric, area in areas.items()},
        area_intervals={metric: mean_interval(area) for metric, area in areas.items()},
        differences=differences,
    )
    return row, areas


def _difference(area: NDArray[np.float64], chance: NDArray[np.float64]) -> tuple[float, float, float]:
    return (float((area - chance).mean()), *difference_interval(area, chance))
