"""A finished evaluation as a folder: ``report.json``, a CSV of each table, and ``report.html``."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from hetsearch.data.images import ImageSet
from hetsearch.errors import ImageError, MissingExtra
from hetsearch.evaluation.result import METRICS, Evaluation
from hetsearch.files import make_folder, sha256_of, write_json, write_text
from hetsearch.preprocess import InputSpec, open_image, to_pixels

THUMBNAIL = 56  # side, pixels
_POINTS = ("verification.csv", "open_set.csv")
_ASKED = (*_POINTS, "backfill.csv")  # tables that only some evaluations have


def write_evaluation(evaluation: Evaluation, out: Path, images: ImageSet | None = None) -> tuple[Path, ...]:
    """Write an evaluation into a folder.

    ``report.json`` comes last, with the checksum of every other file. Without the packages of the ``report``
    extra there is no ``report.html``; a line on stderr says what to install.

    Args:
        evaluation: what was found.
        out: the folder; made if it is not there.
        images: the images that were evaluated, for the pictures of the examples; None leaves them out.

    Returns:
        The files that were written, ``report.json`` first.

    Raises:
        UsageError: ``out`` is a file, or nothing may be written there.
    """
    make_folder(out)
    written: list[Path] = []
    tables = _tables(evaluation)
    for name in _ASKED:
        if name not in tables:
            (out / name).unlink(missing_ok=True)  # of an older evaluation
    for name, rows in tables.items():
        written.append(out / name)
        write_text(written[-1], rows)
    page = out / "report.html"
    try:
        # Jinja2 and matplotlib are an extra, and slow to import.
        from hetsearch.evaluation.report.page import render_report

        write_text(page, render_report(evaluation, thumbnails(images)))
        written.append(page)
    except MissingExtra as error:
        page.unlink(missing_ok=True)  # the page of an older evaluation would contradict report.json
        sys.stderr.write(f"report.html was not written: {error}\n")
    files = {path.name: sha256_of(path) for path in written}
    write_json(out / "report.json", {**evaluation.as_dict(), "files": files})
    return (out / "report.json", *written)


def thumbnails(images: ImageSet | None) -> Callable[[str], bytes | None]:
    """A function from an image's key to a small PNG's bytes; None for an unknown or unreadable image."""
    rows = {} if images is None else {key: row for row, key in enumerate(images.keys)}

    def thumbnail(key: str) -> bytes | None:
        if images is None or key not in rows:
            return None
        try:
            return _png(open_image(images.read(rows[key])))
        except ImageError:
            return None

    return thumbnail


def _png(image: Image.Image) -> bytes:
    # A tiny image is not blurred: its pixels stay visible, enlarged.
    side = min(THUMBNAIL, max(8, *image.size))
    spec = InputSpec(size=side, channels=3, fit="pad", mean=(0.5,) * 3, std=(0.5,) * 3)
    small = Image.fromarray(to_pixels(image, spec).transpose(1, 2, 0))
    if side < THUMBNAIL:
        small = small.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _tables(evaluation: Evaluation) -> dict[str, str]:
    matrix_header = ["query", "gallery", "kind"]
    for metric in METRICS:
        matrix_header += [metric, f"{metric}_low", f"{metric}_high"]
    matrix = [
        [row.query, row.gallery, row.kind, *(v for m in METRICS for v in (row.metrics[m], *row.intervals[m]))]
        for row in evaluation.matrix
    ]
    encoder_header = ["name", "role", "space", "params", "macs", "bytes", "latency_ms", "precision"]
    encoders = [
        [name, *(getattr(row, column) for column in encoder_header[1:])]
        for name, row in evaluation.encoders.items()
    ]
    verdicts = [
        [name, m, verdict.compatible[m], verdict.useful[m], verdict.retention[m], verdict.gain[m], *overall]
        for name, verdict in evaluation.verdicts.items()
        for overall in [(verdict.nfr_at_1, verdict.pfr_at_1)]
        for m in METRICS
    ]
    flips = [
        [name, label, *row.as_dict().values()]
        for name, verdict in evaluation.verdicts.items()
        for label, row in verdict.flips.items()
    ]
    recall = [
        [query, gallery, k, value]
        for (query, gallery), curve in evaluation.recall.items()
        for k, value in enumerate(curve.tolist(), start=1)
    ]
    verdict_header = ["query", "metric", "compatible", "useful", "retention", "gain", "nfr@1", "pfr@1"]
    return {
        "matrix.csv": _csv(matrix_header, matrix),
        "encoders.csv": _csv(encoder_header, encoders),
        "verdicts.csv": _csv(verdict_header, verdicts),
        "flips.csv": _csv(["query", "class", "n", "nfr@1", "pfr@1", "delta_r@1", "M(g,g)", "M(q,g)"], flips),
        "recall.csv": _csv(["query", "gallery", "k", "recall"], recall),
        **_points_tables(evaluation),
        **_backfill_table(evaluation),
    }


def _points_tables(evaluation: Evaluation) -> dict[str, str]:
    header = ["query", "gallery", "point", "rate", "false_rate", "threshold", "reason"]
    tables = {}
    for name, points in zip(_POINTS, (evaluation.verification, evaluation.open_set), strict=True):
        if points is not None:
            rows = [
                [row.query, row.gallery, point, rate, row.reached[point], row.thresholds[point], row.reasons.get(point)]
                for row in points
                for point, rate in row.rates.items()
            ]
            tables[name] = _csv(header, rows)
    return tables


def _backfill_table(evaluation: Evaluation) -> dict[str, str]:
    if evaluation.backfill is None:
        return {}
    header = ["query", "order", "share"]
    for metric in METRICS:
        header += [metric, f"{metric}_low", f"{metric}_high"]
    rows = [
        [row.query, row.order, share, *(v for m in METRICS for v in (row.metrics[m][at], *row.intervals[m][at]))]
        for row in evaluation.backfill
        for at, share in enumerate(row.shares)
    ]
    return {"backfill.csv": _csv(header, rows)}


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    # As in JSON: true, false, and an empty cell for what is undefined.
    words = {True: "true", False: "false"}
    writer.writerows([words[cell] if isinstance(cell, bool) else cell for cell in row] for row in rows)
    return buffer.getvalue()
