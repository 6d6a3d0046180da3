"""A picture of a front of MACs against reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hetsearch.files import atomic_path

Points = Sequence[tuple[float, float]]  # MACs and reward


def draw_front(front: Points, every: Points, reward: str, path: Path) -> bool:
    """Draw what was measured and the front of it, as SVG; False where matplotlib is not installed."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*_columns(every), s=12, color="0.7", label="measured")
    axes.plot(*_columns(front), "o-", color="tab:blue", markersize=4, label="front")
    axes.set(xlabel="million MACs of one image", ylabel=f"{reward} with the supernet's weights")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    # Text as text, no date and a fixed salt: the same front is the same file.
    style = rc_context({"svg.fonttype": "none", "svg.hashsalt": "hetsearch"})
    with style, atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    return True


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [macs / 1e6 for macs, _ in points], [reward for _, reward in points]
