"""The picture of scripts/table_nas.py: results/nas.svg, accuracy against the cost of a query, of the rows there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from nas_words import FREE_NAME, HYBRID, OTHERS, REWARD_KINDS, SMALL_NAME
from tables import Row, Table

mpl.use("svg")
import matplotlib.pyplot as plt

GREY = "#9aa1ad"
POINTS = {  # name of the row → colour, marker
    **{name: ("#d1495b", marker) for name, marker in zip((*REWARD_KINDS, SMALL_NAME), "<v^D", strict=True)},
    "random": ("#e8a0aa", "o"),
    FREE_NAME: ("#e9a23b", "<"),
    **{name: ("#2a9d8f", marker) for name, marker in zip(OTHERS, "*sP", strict=True)},
}


def draw_networks(table: Table, sets: Sequence[str], path: Path) -> None:
    """Draw M(q, g) by mAP on the test images against MACs, one panel a data set; means over seeds, bars their range."""
    shown = [data for data in sets if table.of(HYBRID, f"{data}:test") or table.of("R3", f"{data}:test")]
    if not shown:
        return
    # Text as text and a fixed salt: a small file that is the same each time.
    plt.rcParams.update({"font.size": 10, "svg.hashsalt": "hetsearch", "svg.fonttype": "none"})
    figure, panels = plt.subplots(1, len(shown), figsize=(5.4 * len(shown), 5), layout="constrained", squeeze=False)
    for panel, data in zip(panels[0], shown, strict=True):
        _draw(panel, table, data)
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    plt.close(figure)


def _draw(panel: Any, table: Table, data: str) -> None:
    source = f"{data}:test"
    (paragon,) = table.of("M(g,g)", source)
    panel.axhline(paragon["paragon"]["map"], color="#4c566a", linestyle="--", linewidth=1, label="M(g,g)")
    chance = [row for row in table.rows if row["data"] == source and row["name"].startswith("with ")]
    if chance:
        points = [(row["cost"]["macs"] / 1e6, row["metrics"]["map"]) for row in chance]
        panel.scatter(*zip(*points, strict=True), s=16, color=GREY, label=f"drawn by chance{_epochs(chance)}")
    for name, (colour, marker) in POINTS.items():
        rows = table.of(name, source)
        if rows:
            values = [row["metrics"]["map"] for row in rows]
            mean = sum(values) / len(values)
            bars = [[mean - min(values)], [max(values) - mean]]
            place, label = rows[0]["cost"]["macs"] / 1e6, f"{name}{_epochs(rows)}"
            panel.errorbar(place, mean, yerr=bars, fmt=marker, color=colour, markersize=7, capsize=3, label=label)
    panel.set_xlabel("million multiply-accumulates of a query")
    panel.set_title(f"M(q,g) by mAP, test images of {data}", fontsize=10)
    panel.grid(visible=True, alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.14))  # clear of points


def _epochs(rows: Sequence[Row]) -> str:
    return f", {rows[0]['epochs']} epochs" if "epochs" in rows[0] else ""
