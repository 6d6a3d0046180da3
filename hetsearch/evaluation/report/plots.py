"""The report's pictures as inline SVG: the same evaluation always gives the same bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.evaluation.report.drawing import (
    FONT,
    ROLES,
    STAND_IN,
    Box,
    Picture,
    drawing,
    leader,
    place_labels,
    side_by_side,
)
from hetsearch.evaluation.result import Evaluation, MatrixRow

METRIC_NAMES = {"map": "mAP", "p@1": "P@1", "r@10": "R@10", "map@r": "mAP@R"}
# How a kind of search is drawn: dashes (in widths of the line), marker, filled. Never by colour alone.
STYLES: dict[str, tuple[tuple[float, ...], str, bool]] = {
    "paragon": ((), "s", True),
    "heterogeneous": ((), "o", True),
    "homogeneous": ((4, 1.6), "o", False),
    "baseline": ((6, 1.6, 1.2, 1.6), "D", True),
    "control": ((1, 1.6), "D", False),
}
PLAIN = STYLES["heterogeneous"]  # of a kind that is not known here
CURVE_LENGTH = 100


def cost_pictures(evaluation: Evaluation, symbols: dict[str, str]) -> tuple[Picture, ...]:
    """Accuracy against the MACs of one query, one picture for mAP and one for P@1; the control is left out.

    Args:
        evaluation: what was found.
        symbols: by encoder, its short sign for the labels (``q``).

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    known = {name for name, encoder in evaluation.encoders.items() if encoder.macs > 0}
    rows = [row for row in evaluation.matrix if row.kind != "control" and row.query in known]
    pictures = []
    for metric in ("map", "p@1"):
        if shown := [row for row in rows if _finite(row.metrics.get(metric))]:
            pictures.append(_cost_picture(evaluation, symbols, shown, metric))
    return tuple(pictures)


def recall_pictures(evaluation: Evaluation) -> tuple[Picture, ...]:
    """R@k for k = 1 … 100: closely around the curves that work, and where there is a control, from 0 to 1.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    curves = [row for row in evaluation.matrix if len(evaluation.recall.get((row.query, row.gallery), ()))]
    close = [row for row in curves if row.kind != "control"]
    pictures = []
    if close:
        pictures.append(_recall_picture(evaluation, close, "close", "R@k from close by, without the control"))
    if len(close) < len(curves):
        pictures.append(_recall_picture(evaluation, curves, "whole", "R@k from 0 to 1, with the control"))
    return tuple(pictures)


def swatch(evaluation: Evaluation, row: MatrixRow) -> str:
    """A short piece of the line that stands for a row of the matrix, as SVG."""
    role = evaluation.encoders[row.query].role if row.query in evaluation.encoders else ""
    dashes, _, _ = STYLES.get(row.kind, PLAIN)
    width = 2.6 if row.kind == "heterogeneous" else 1.8
    pattern = f' stroke-dasharray="{" ".join(f"{dash * width:g}" for dash in dashes)}"' if dashes else ""
    colour = role if role in ROLES else "ink"
    return (
        '<svg class="swatch" viewBox="0 0 30 8" width="30" height="8" aria-hidden="true">'
        f'<line x1="1" y1="4" x2="29" y2="4" style="stroke: var(--{colour})" stroke-width="{width}"'
        f' opacity="{_strength(evaluation, row):g}"{pattern}/></svg>'
    )


def human(value: float) -> str:
    """A count in three figures: 2,631,680 → ``2.63 M``."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size * 0.9995:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def _cost_picture(
    evaluation: Evaluation, symbols: dict[str, str], rows: Sequence[MatrixRow], metric: str
) -> Picture:
    name = METRIC_NAMES[metric]
    macs = np.array([evaluation.encoders[row.query].macs for row in rows], dtype=np.float64)
    ends = np.array([row.intervals.get(metric, (row.metrics[metric],) * 2) for row in rows], dtype=np.float64)
    title = f"{name} against the MACs of one query"
    with drawing(420, 320, title) as (figure, axes, result):
        axes.set_xscale("log")
        # On the left, room for the labels of the cheap encoders, which usually stand close together.
        decades = max(float(np.log10(macs.max() / macs.min())), 1.0) + 0.34
        axes.set_xlim(macs.min() / 10 ** (0.52 * decades), macs.max() * 10**0.34)
        pad = max(0.12 * (np.nanmax(ends) - np.nanmin(ends)), 0.004)
        axes.set_ylim(np.nanmin(ends) - pad, np.nanmax(ends) + pad)
        axes.xaxis.set_major_formatter(lambda value, _: human(value))
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.set_xlabel("MACs of one query, log scale")
        axes.set_ylabel(name)
        axes.grid(axis="y")
        points = side_by_side(axes.transData.transform(np.column_stack([macs, ends.mean(axis=1)])))
        across = axes.transData.inverted().transform(points)[:, 0]
        for row, x, (low, high) in zip(rows, across, ends, strict=True):
            colour, (_, marker, filled) = _role_colour(evaluation, row), STYLES.get(row.kind, PLAIN)
            axes.plot([x, x], [low, high], color=colour, linewidth=1.6, solid_capstyle="round")
            size = 10 if row.kind == "heterogeneous" else 7
            face = colour if filled else STAND_IN["page"]
            axes.plot([x], [row.metrics[metric]], marker, color=colour, markerfacecolor=face, markersize=size)
        _label_points(figure, axes, evaluation, symbols, rows, metric, across)
    return Picture(result[0], title)


def _label_points(
    figure: Any,
    axes: Any,
    evaluation: Evaluation,
    symbols: dict[str, str],
    rows: Sequence[MatrixRow],
    metric: str,
    across: NDArray[np.float64],
) -> None:
    anchors, sizes, obstacles, texts = [], [], [], []
    for row, x in zip(rows, across, strict=True):
        value = row.metrics[metric]
        px, py = axes.transData.transform((x, value))
        ends = row.intervals.get(metric, (value, value))
        low, high = (axes.transData.transform((x, end))[1] for end in ends)
        obstacles.append(Box(px - 7, min(low, py - 7), px + 7, max(high, py + 7)))
        way = f"{symbols.get(row.query, row.query)} → {symbols.get(row.gallery, row.gallery)}"
        texts.append((row.kind, f"{way}  {value:.4f}"))
        anchors.append((float(px), float(py)))
        sizes.append((max(len(row.kind) * 0.64, len(texts[-1][1]) * 0.56) * FONT, FONT * 2.4))
    inner = axes.get_window_extent()
    placed = place_labels(anchors, sizes, Box(inner.x0 + 2, inner.y0 + 2, inner.x1, inner.y1), obstacles)
    for row, box, (px, py), words in zip(rows, placed, anchors, texts, strict=True):
        right = box.left > px
        edge, middle = (box.left if right else box.right), (box.bottom + box.top) / 2
        gap = np.array([edge - px, middle - py])
        if (length := float(np.hypot(*gap))) > 16 and (right or box.right < px):
            start_and_end = np.array([[px, py]]) + np.outer([8 / length, 1 - 2 / length], gap)
            figure.add_artist(leader(figure, start_and_end))
        align = "left" if right else ("right" if box.right < px else "center")
        at = {"left": box.left, "right": box.right, "center": px}[align]
        colour = _role_colour(evaluation, row)
        for words_line, y, weight in ((words[0], middle + 1.5, "bold"), (words[1], middle - FONT, "normal")):
            figure.text(at, y, words_line, ha=align, color=colour, weight=weight, transform=None)


def _recall_picture(evaluation: Evaluation, rows: Sequence[MatrixRow], name: str, title: str) -> Picture:
    curves = [np.asarray(evaluation.recall[row.query, row.gallery], float)[:CURVE_LENGTH] for row in rows]
    floor = min(float(np.nanmin(curve)) for curve in curves)
    with drawing(420, 300, title) as (_, axes, result):
        axes.set_xscale("log")
        axes.set_xlim(0.93, max(2.0, max(map(len, curves)) * 1.05))
        spread = max(1.0 - floor, 0.01)
        axes.set_ylim(0.0 if name == "whole" else max(0.0, floor - 0.06 * spread), 1.0 + 0.03 * spread)
        axes.set_xticks([k for k in (1, 2, 5, 10, 20, 50, 100) if k <= max(map(len, curves))])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f}")
        axes.xaxis.set_minor_formatter(lambda value, _: "")
        axes.tick_params(which="minor", length=0)
        axes.set_xlabel("k, log scale")
        axes.set_ylabel("R@k")
        axes.grid(axis="y")
        # The heterogeneous curve is drawn last, on top.
        order = sorted(range(len(rows)), key=lambda index: rows[index].kind == "heterogeneous")
        for row, curve in ((rows[index], curves[index]) for index in order):
            dashes, marker, _ = STYLES.get(row.kind, PLAIN)
            width = 2.6 if row.kind == "heterogeneous" else 1.6
            style = {"dashes": dashes} if dashes else {}
            axes.plot(
                np.arange(1, len(curve) + 1),
                curve,
                color=_role_colour(evaluation, row),
                alpha=_strength(evaluation, row),
                linewidth=width,
                marker=marker if len(curve) == 1 else None,
                **style,
            )
    return Picture(result[0], title)


def _role_colour(evaluation: Evaluation, row: MatrixRow) -> str:
    encoder = evaluation.encoders.get(row.query)
    return STAND_IN.get(encoder.role if encoder else "ink", STAND_IN["ink"])


def _strength(evaluation: Evaluation, row: MatrixRow) -> float:
    """Opacity of a curve: the second, third … encoder of a role is drawn ever fainter."""
    encoder = evaluation.encoders.get(row.query)
    alike = [name for name, other in evaluation.encoders.items() if encoder and other.role == encoder.role]
    return max(0.3, 1.0 - 0.4 * alike.index(row.query)) if encoder else 1.0


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


