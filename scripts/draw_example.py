"""The picture in the README: accuracy against the cost of a query, from results/fashion-mnist.json.

    python scripts/draw_example.py            # writes results/fashion-mnist.svg
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

from hetsearch.bundle import read_card

mpl.use("svg")
import matplotlib.pyplot as plt

RESULTS = Path("results")
ZOO = Path("zoo/fashion-mnist")
SEED = 0

# name of the row → whose MACs a query costs, colour, marker, words
POINTS = {
    "M(g,g)": ("gallery-encoder", "#4c566a", "s", "large network on both sides"),
    "M(q,g)": ("query-encoder", "#d1495b", "o", "tiny query, large gallery"),
    "M(q,q)": ("query-encoder", "#e8a0aa", "o", "the same tiny network on both sides"),
    "M(q*,q*)": ("free-encoder", "#2a9d8f", "^", "tiny network trained freely, on both sides"),
}
METRICS = {"map": "mAP", "p@1": "P@1"}
# Queries of one cost stand side by side, or their bars would hide each other; the caption says so.
ASIDE = {"M(q*,q*)": 0.36, "M(q,g)": 1.0, "M(q,q)": 2.8}


def main() -> None:
    """Draw one panel a metric."""
    rows = [row for row in json.loads((RESULTS / "fashion-mnist.json").read_text()) if row["seed"] == SEED]
    # Text as text and a fixed salt: a small file that is the same each time.
    plt.rcParams.update({"font.size": 10, "svg.hashsalt": "hetsearch", "svg.fonttype": "none"})
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for panel, (metric, title) in zip(panels, METRICS.items(), strict=True):
        _draw(panel, rows, metric, title)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(RESULTS / "fashion-mnist.svg", metadata={"Date": None}, facecolor="white")


def _draw(panel: Any, rows: list[dict[str, Any]], metric: str, title: str) -> None:
    for name, (encoder, colour, marker, words) in POINTS.items():
        row = next(row for row in rows if row["name"] == name)
        macs = read_card(ZOO / encoder, verify=False).macs * ASIDE.get(name, 1.0)
        value, (low, high) = row["metrics"][metric], row["ci"][metric]
        panel.errorbar(
            macs,
            value,
            yerr=[[value - low], [high - value]],
            fmt=marker,
            color=colour,
            markersize=9,
            capsize=4,
            label=f"{name}: {words}",
        )
        panel.annotate(f"{value:.3f}", (macs, value), xytext=(7, 5), textcoords="offset points", color=colour)
    panel.set_xscale("log")
    panel.set_xlim(6e5, 2e9)
    panel.set_xlabel("multiply-accumulates of a query (equal costs side by side)")
    panel.set_title(f"{title} on the 10,000 test images of FashionMNIST", fontsize=10)
    panel.grid(visible=True, alpha=0.25)
    panel.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
