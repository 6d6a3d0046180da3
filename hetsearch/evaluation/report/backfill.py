"""The report's picture of an upgrade: quality against the share of the gallery that is embedded again."""

from __future__ import annotations

from hetsearch.evaluation.report.drawing import STAND_IN, Picture, drawing
from hetsearch.evaluation.report.plots import METRIC_NAMES
from hetsearch.evaluation.result import BackfillRow, Evaluation

# How an order is drawn: dashes, marker, filled. Never by colour alone.
STYLES: dict[str, tuple[tuple[float, ...], str, bool]] = {"random": ((4, 1.6), "o", False), "gain": ((), "s", True)}
DRAWN = ("map", "p@1")


def backfill_pictures(evaluation: Evaluation, symbols: dict[str, str]) -> tuple[Picture, ...]:
    """A picture for mAP and one for P@1: a curve for each query encoder and order, and what the older encoder gave.

    Args:
        evaluation: what was found.
        symbols: by encoder, its short sign (``q``).

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    rows = evaluation.backfill or ()
    return tuple(_picture(rows, symbols, metric) for metric in DRAWN if rows)


def _picture(rows: tuple[BackfillRow, ...], symbols: dict[str, str], metric: str) -> Picture:
    name = METRIC_NAMES[metric]
    title = f"{name} against the share embedded again"
    with drawing(420, 300, title) as (_, axes, result):
        axes.set_xlim(-0.02, 1.06)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.set_xlabel("share of the gallery embedded again")
        axes.set_ylabel(name)
        axes.grid(axis="y")
        axes.axhline(rows[0].former[metric], color=STAND_IN["muted"], linewidth=1.2, dashes=(1, 1.6), label="before")
        faint: dict[str, float] = {}
        for row in rows:
            dashes, marker, filled = STYLES[row.order]
            colour = STAND_IN["query"]
            sign = symbols.get(row.query, row.query)
            strength = faint.setdefault(row.query, max(0.3, 1.0 - 0.4 * len(faint)))
            low, high = zip(*row.intervals[metric], strict=True)
            axes.fill_between(row.shares, low, high, color=colour, alpha=0.08 * strength, linewidth=0)
            axes.plot(
                row.shares, row.metrics[metric], marker, color=colour, alpha=strength, linewidth=1.8, linestyle="-",
                markerfacecolor=colour if filled else STAND_IN["page"], markersize=5,
                label=f"{sign}, {row.order}: area {row.areas[metric]:.4f}", **({"dashes": dashes} if dashes else {}),
            )  # fmt: skip
        axes.legend(frameon=False, labelcolor=STAND_IN["ink"], handlelength=3)
    return Picture(result[0], title)
