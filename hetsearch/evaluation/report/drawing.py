"""Drawing for the report: matplotlib's SVG fitted into a page, and labels that keep clear of one another.

matplotlib draws with stand-in colours that become CSS variables of the page, so that one drawing serves light
and dark, screen and paper. Text stays text, in the page's own font. One drawing unit is 1/72 inch throughout.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import require_extra

PALETTE = 10  # class colours
FONT = 11.5

# Stand-ins, one a CSS variable: colours that no drawing would pick by chance.
ROLES = ("gallery", "query", "free")
_TOKENS = ("ink", "muted", "line", "page", *ROLES, *(f"class-{index}" for index in range(PALETTE)))
STAND_IN = {token: f"#1d{index:02x}e7" for index, token in enumerate(_TOKENS)}
_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "hetsearch",
    "font.family": "DejaVu Sans",
    "font.size": FONT,
    "text.color": STAND_IN["ink"],
    "text.parse_math": False,
    "axes.edgecolor": STAND_IN["line"],
    "axes.labelcolor": STAND_IN["muted"],
    "axes.labelsize": FONT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": STAND_IN["line"],
    "ytick.color": STAND_IN["line"],
    "xtick.labelcolor": STAND_IN["muted"],
    "ytick.labelcolor": STAND_IN["muted"],
    "grid.color": STAND_IN["line"],
    "grid.linewidth": 0.6,
    "path.simplify": False,
}


@dataclass(frozen=True)
class Picture:
    """One drawing: SVG for inline use (already escaped), and what it shows in one short title."""

    svg: str
    title: str


@dataclass(frozen=True)
class Box:
    """A rectangle; y grows upward."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """Area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, bounds: Box) -> float:
        """Area that lies out of ``bounds``."""
        return (self.right - self.left) * (self.top - self.bottom) - self.overlap(bounds)


def place_labels(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    bounds: Box,
    obstacles: Sequence[Box] = (),
) -> list[Box]:
    """Put a label of each size near its anchor, clear of the obstacles and of one another.

    Greedy, in the order given: the nearest free place, or where none is free, the one that covers least.
    """
    taken = list(obstacles)
    placed: list[Box] = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        candidates: list[tuple[float, float, int, Box]] = []
        for left, bottom, distance in _places(width, height):
            box = Box(x + left, y + bottom, x + left + width, y + bottom + height)
            bad = sum(box.overlap(other) for other in taken) + box.outside(bounds)
            candidates.append((round(bad, 6), distance, len(candidates), box))
        placed.append(min(candidates)[3])
        taken.append(placed[-1])
    return placed


def side_by_side(points: NDArray[np.float64], gap: float = 16.0) -> NDArray[np.float64]:
    """Spread points ``(n, 2)`` that share an x, so that their interval bars do not hide one another."""
    result = points.copy()
    order = np.argsort(points[:, 0], kind="stable")
    group = [order[0]]
    for index in [*order[1:], -1]:
        if index >= 0 and points[index, 0] - points[group[0], 0] < gap:
            group.append(index)
            continue
        middle = points[group, 0].mean()
        ranked = sorted(group)
        result[ranked, 0] = middle + gap * (np.arange(len(ranked)) - (len(ranked) - 1) / 2)
        group = [index]
    return result


def dots(axes: Any, points: NDArray[np.float64], colour: str, alpha: float = 0.6) -> None:
    """Dots at ``points`` ``(n, 2)`` as one path of empty strokes with round caps: few bytes each."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if len(points):
        path = Path(np.repeat(points, 2, axis=0), np.tile([Path.MOVETO, Path.LINETO], len(points)))
        path.should_simplify = False
        style = {"edgecolor": colour, "linewidth": 3.0, "capstyle": "round", "alpha": alpha}
        axes.add_patch(PathPatch(path, fill=False, **style))


def leader(figure: Any, ends: NDArray[np.float64]) -> Any:
    """A thin line from a point to its label; ``ends`` is ``(2, 2)``, in drawing units."""
    from matplotlib.lines import Line2D

    return Line2D(ends[:, 0], ends[:, 1], color=STAND_IN["muted"], linewidth=0.7, transform=None, figure=figure)


@contextmanager
def drawing(
    width: float, height: float, title: str, margins: tuple[float, float] = (56, 42)
) -> Iterator[tuple[Any, Any, list[str]]]:
    """Yield a figure, its axes and a list that afterwards holds the SVG; ``margins`` are left and below."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise require_extra("matplotlib", "report") from None
    result: list[str] = []
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update(_RC)
        # The page's font draws the letters; that matplotlib's lacks some of them does not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout=None)
        left, below = margins
        axes = figure.add_axes((left / width, below / height, 1 - (left + 8) / width, 1 - (below + 8) / height))
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        axes.set_axisbelow(True)
        axes.tick_params(length=3, width=0.8)
        yield figure, axes, result
        raw = io.StringIO()
        figure.savefig(raw, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    result.append(_inline(raw.getvalue(), title))


def _inline(raw: str, title: str) -> str:
    """Fit matplotlib's file into a page: no prologue, ids of its own, the page's colours and font."""
    prefix = "p" + hashlib.sha256(title.encode()).hexdigest()[:8]
    box = re.search(r'viewBox="([^"]+)"', raw)
    body = raw[raw.index(">", raw.index("<svg")) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    # The page has its own style; this one would reach every drawing in it.
    body = re.sub(r"<!--.*?-->\s*|<style.*?</style>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r' id="', f' id="{prefix}-', body)
    body = body.replace('xlink:href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    body = re.sub(r' d="[^"]*"', lambda match: _shorter(match.group()), body)
    # matplotlib writes the font in one property or in several, by version.
    body = re.sub(r'(font-family: |font: [^;"]*?px )[^;"]+', r"\1var(--sans)", body)
    for token, colour in STAND_IN.items():
        body = body.replace(colour, f"var(--{token})")
    start = f'<svg viewBox="{box.group(1) if box else ""}" role="img" aria-label="{html.escape(title)}">'
    return start + body.strip()


def _shorter(path: str) -> str:
    """One decimal is a tenth of a point; an empty stroke is written as one."""
    path = re.sub(r"(\d+\.\d)\d+", r"\1", path)
    return re.sub(r"M (\S+) (\S+) \nL \1 \2 \n", r"M\1 \2h0", path)


def _places(width: float, height: float) -> Iterator[tuple[float, float, float]]:
    """Lower left corners around an anchor, with what each costs: right, left, then above and below."""
    for ring in range(7):
        for sign in (1, -1) if ring else (1,):
            shift = sign * ring * height * 0.5
            for away in (11.0, 27.0, 43.0):
                yield away, shift - height / 2, abs(shift) + away
                yield -away - width, shift - height / 2, abs(shift) + away + 2
            yield -width / 2, sign * (11 + ring * height * 0.5) - (height if sign < 0 else 0), 17 + abs(shift)
