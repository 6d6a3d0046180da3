"""Two encoders' vectors in one plane: the gallery encoder's principal components, and both drawn on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.evaluation.report.drawing import (
    PALETTE,
    ROLES,
    STAND_IN,
    Box,
    Picture,
    dots,
    drawing,
    place_labels,
)

PLANE_IMAGES = 2000
NAMES = 10.5  # size of the classes' names


@dataclass(frozen=True)
class Plane:
    """Two encoders' vectors in the plane of the first's two largest principal components.

    Attributes:
        rows: which images were taken, at most ``PLANE_IMAGES``, evenly spread.
        gallery, query: ``(len(rows), 2)`` coordinates.
        shares: of the gallery encoder's variance, by axis, fractions.
        query_shares: of the query encoder's own variance on the same two axes.
    """

    rows: NDArray[np.int64]
    gallery: NDArray[np.float64]
    query: NDArray[np.float64]
    shares: tuple[float, float]
    query_shares: tuple[float, float]


def plane_pictures(plane: Plane, labels: Sequence[str]) -> tuple[tuple[Picture, ...], tuple[str, ...]]:
    """Three panels with the same axes: the gallery encoder's vectors, the query encoder's, and both.

    Args:
        plane: from ``fit_plane``.
        labels: of the images in ``plane.rows``, in that order; empty where there are none.

    Returns:
        The pictures, and the classes that have a colour of their own, in the order of the palette.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    frequent = Counter(labels).most_common(PALETTE)
    classes = tuple(sorted(name for name, _ in frequent))
    panels = (_panel(plane, labels, classes, which) for which in (0, 1))
    return (*panels, _overlay(plane, labels, classes)), classes


def fit_plane(gallery: NDArray[Any], query: NDArray[Any], limit: int = PLANE_IMAGES) -> Plane:
    """Principal components of the gallery encoder's vectors, and both encoders' vectors on the first two.

    Args:
        gallery: ``(n, dim)``, by the gallery encoder; n and dim at least 2.
        query: ``(n, dim)``, the same images by the query encoder.
        limit: use at most so many images, evenly spread over the rows.
    """
    rows = np.unique(np.linspace(0, len(gallery) - 1, min(limit, len(gallery))).round().astype(np.int64))
    first, second = (np.asarray(vectors, dtype=np.float64)[rows] for vectors in (gallery, query))
    centre = first.mean(axis=0)
    _, scales, axes = np.linalg.svd(first - centre, full_matrices=False)
    axes = axes[:2]
    # The sign of a component is arbitrary: its largest entry is made positive.
    axes = axes * np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])[:, None]
    own = second - second.mean(axis=0)
    shares = scales[:2] ** 2 / max(float((scales**2).sum()), np.finfo(float).tiny)
    query_shares = ((own @ axes.T) ** 2).sum(axis=0) / max(float((own**2).sum()), np.finfo(float).tiny)
    return Plane(
        rows=rows,
        gallery=(first - centre) @ axes.T,
        query=(second - centre) @ axes.T,
        shares=(float(shares[0]), float(shares[1])),
        query_shares=(float(query_shares[0]), float(query_shares[1])),
    )


def _panel(plane: Plane, labels: Sequence[str], classes: Sequence[str], which: int) -> Picture:
    title = f"The {ROLES[which]} encoder's vectors"
    with drawing(330, 330, title, margins=(26, 26)) as (figure, axes, result):
        _plane_axes(axes, plane)
        points = (plane.gallery, plane.query)[which]
        if not classes:
            dots(axes, points, STAND_IN[ROLES[which]])
        column = np.array(labels, dtype=object)
        if classes:
            dots(axes, points[~np.isin(column, classes)], STAND_IN["line"])
        for index, label in enumerate(classes):
            dots(axes, points[column == label], STAND_IN[f"class-{index}"])
        means = {label: points[column == label].mean(axis=0) for label in classes}
        _name_classes(figure, axes, means)
    return Picture(result[0], title)


def _overlay(plane: Plane, labels: Sequence[str], classes: Sequence[str]) -> Picture:
    title = "Both, class means joined" if classes else "Both"
    with drawing(330, 330, title, margins=(26, 26)) as (figure, axes, result):
        _plane_axes(axes, plane)
        for points, role in ((plane.gallery, "gallery"), (plane.query, "query")):
            dots(axes, points, STAND_IN[role], alpha=0.28 if classes else 0.6)
        column = np.array(labels, dtype=object)
        pairs = {
            label: np.array([points[column == label].mean(axis=0) for points in (plane.gallery, plane.query)])
            for label in classes
        }
        for pair in pairs.values():
            axes.plot(pair[:, 0], pair[:, 1], color=STAND_IN["ink"], linewidth=1.4)
            for point, role, marker in zip(pair, ("gallery", "query"), ("s", "o"), strict=True):
                edge = {"markeredgecolor": STAND_IN["page"], "markeredgewidth": 1.0}
                axes.plot(*point[:, None], marker, color=STAND_IN[role], markersize=7.5, **edge)
        _name_classes(figure, axes, {label: pair[0] for label, pair in pairs.items()}, tuple(pairs.values()))
    return Picture(result[0], title)


def _plane_axes(axes: Any, plane: Plane) -> None:
    both = np.concatenate([plane.gallery, plane.query])
    low, high = both.min(axis=0), both.max(axis=0)
    half = max(float((high - low).max()) * 0.53, 1e-6)
    middle = (low + high) / 2
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(f"PC 1: {100 * plane.shares[0]:.1f} % of the variance of g")
    axes.set_ylabel(f"PC 2: {100 * plane.shares[1]:.1f} % of the variance of g")
    axes.spines[["top", "right"]].set_visible(True)


def _name_classes(
    figure: Any, axes: Any, means: dict[str, NDArray[np.float64]], pairs: Sequence[NDArray[np.float64]] = ()
) -> None:
    names = [label if len(label) <= 18 else label[:17] + "…" for label in means]
    anchors = [(float(x), float(y)) for x, y in (axes.transData.transform(mean) for mean in means.values())]
    sizes = [(len(name) * NAMES * 0.58 + 2, NAMES * 1.15) for name in names]
    ends = [tuple(axes.transData.transform(point)) for pair in pairs for point in pair]
    obstacles = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in (ends or anchors)]
    inner = axes.get_window_extent()
    placed = place_labels(anchors, sizes, Box(inner.x0, inner.y0, inner.x1, inner.y1), obstacles)
    for name, box in zip(names, placed, strict=True):
        middle = (box.left + box.right) / 2
        figure.text(middle, box.bottom + 2.2, name, ha="center", fontsize=NAMES, transform=None)
