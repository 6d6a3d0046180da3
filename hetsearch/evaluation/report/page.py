"""The report for the eye: one HTML file, no network, no script, the same bytes for the same evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from hetsearch.errors import require_extra
from hetsearch.evaluation.gates.release import observed
from hetsearch.evaluation.report.backfill import backfill_pictures
from hetsearch.evaluation.report.drawing import ROLES, Picture
from hetsearch.evaluation.report.plane import Plane, fit_plane, plane_pictures
from hetsearch.evaluation.report.plots import METRIC_NAMES, cost_pictures, human, recall_pictures, swatch
from hetsearch.evaluation.report.view import (
    Thumbnail,
    ceiling_of,
    flat,
    milliseconds,
    number,
    percent,
    reasons_of,
    rows_of,
    size,
    subjects_of,
    symbols_of,
)
from hetsearch.evaluation.result import METRICS, Evaluation, MatrixRow

MEANINGS = {
    "paragon": "the gallery encoder on both sides: the ceiling",
    "heterogeneous": "light queries among the gallery encoder's vectors: what a user gets",
    "homogeneous": "the query encoder on both sides: what a compatible encoder must beat",
    "baseline": "the small network trained freely, on both sides: what a useful encoder must beat",
    "control": "the free network among vectors that it was never trained for: about chance",
}


CLASSES = 12  # that are shown, those that break most first


@dataclass(frozen=True)
class Curve:
    """One line of the legend of the recall curves; ``points`` are ``(k, R@k)``."""

    row: MatrixRow
    swatch: str
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class PlaneView:
    """The pictures of both encoders' vectors, or the reason why there are none."""

    reason: str = ""
    pictures: tuple[Picture, ...] = ()
    plane: Plane | None = None
    images: int = 0  # of which the plane shows some
    classes: int = 0
    coloured: int = 0  # classes with a colour of their own


def render_report(evaluation: Evaluation, thumbnail: Thumbnail) -> str:
    """Render an evaluation as one self-contained HTML page.

    Args:
        evaluation: what was found.
        thumbnail: key of an image → its bytes as PNG, JPEG, GIF or WebP; None where it cannot be shown.

    Returns:
        The page. Equal evaluations and thumbnails give equal bytes.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise require_extra("jinja2", "report") from None
    symbols = symbols_of(evaluation)
    encoders = evaluation.encoders.items()
    first = next(iter(evaluation.verdicts), None)
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"number": number, "percent": percent, "human": human, "size": size}
    environment.filters |= {"milliseconds": milliseconds, "svg": Markup}
    source = (files("hetsearch.evaluation.report") / "templates" / "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        evaluation=evaluation,
        symbols=symbols,
        names={role: next((name for name, row in encoders if row.role == role), None) for role in ROLES},
        subjects=subjects_of(evaluation),
        metrics=METRICS,
        metric_names=METRIC_NAMES,
        meanings=MEANINGS,
        ceiling=ceiling_of(evaluation),
        cost=cost_pictures(evaluation, symbols),
        recall=recall_pictures(evaluation),
        curves=_curves(evaluation),
        backfill=backfill_pictures(evaluation, symbols),
        view=plane_view(evaluation, first),
        rows=rows_of(evaluation, first, thumbnail),
        settings=tuple(flat(evaluation.settings)),
        reasons=reasons_of(evaluation),
        classes_shown=CLASSES,
        observed=observed,
    )


def plane_view(evaluation: Evaluation, query: str | None) -> PlaneView:
    """Both encoders' vectors in one plane, or the reason why they cannot be drawn."""
    gallery = next((name for name, row in evaluation.encoders.items() if row.role == "gallery"), "")
    heavy, light = evaluation.embeddings.get(gallery), evaluation.embeddings.get(query or "")
    if heavy is None or light is None:
        missing = [role for role, found in (("gallery", heavy), ("query", light)) if found is None]
        return PlaneView(f"This evaluation keeps no vectors of the {' and the '.join(missing)} encoder.")
    if heavy.vectors.shape != light.vectors.shape or heavy.space != light.space:
        return PlaneView("The two encoders' vectors are not of one space, or not of the same images.")
    if min(heavy.vectors.shape) < 2:
        return PlaneView("A plane needs at least two images and two dimensions.")
    plane = fit_plane(heavy.vectors, light.vectors)
    labelled = len(evaluation.labels) == len(heavy) and any(evaluation.labels)
    labels = [evaluation.labels[row] for row in plane.rows] if labelled else []
    pictures, coloured = plane_pictures(plane, labels)
    return PlaneView("", pictures, plane, len(heavy), len(set(labels)), len(coloured))


def _curves(evaluation: Evaluation) -> tuple[Curve, ...]:
    """The rows that have a recall curve, in the order of the matrix."""
    shown = []
    for row in evaluation.matrix:
        curve = evaluation.recall.get((row.query, row.gallery))
        if curve is not None and len(curve):
            points = tuple((k, float(curve[k - 1])) for k in (1, 10, 100) if k <= len(curve))
            shown.append(Curve(row, swatch(evaluation, row), points))
    return tuple(shown)
