"""An evaluation for a terminal: the matrix as a table, verdicts in words, absolute figures beside ratios."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hetsearch.evaluation.gates.release import observed
from hetsearch.evaluation.result import METRICS, BackfillRow, EncoderRow, Evaluation, MatrixRow, PointsRow, Verdict

SPOKEN = ("map", "p@1")  # the metrics whose verdict is put into words
WORST = 3  # classes that are named
HEADER = ["query", "gallery", "", *METRICS]

_ANSWER = {True: "yes", False: "no", None: "open"}


def matrix_table(evaluation: Evaluation) -> list[list[str]]:
    """The matrix as rows of text, under :data:`HEADER`."""
    return [
        [row.query, row.gallery, row.kind, *(f"{row.metrics[metric]:.4f}" for metric in METRICS)]
        for row in evaluation.matrix
    ]


def verdict_lines(evaluation: Evaluation) -> list[str]:
    """The verdict of each query encoder, line by line."""
    rows = {(row.query, row.gallery): row for row in evaluation.matrix}
    gallery = evaluation.matrix[0].gallery
    baseline = next((row for row in evaluation.matrix if row.kind == "baseline"), None)
    lines = [_scope(evaluation)]
    for name, verdict in evaluation.verdicts.items():
        lines += ["", f"{name}:"]
        for metric in SPOKEN:
            lines += _claims(metric, verdict, rows[name, gallery], rows[name, name], baseline)
            lines += _ratios(metric, verdict, rows[name, gallery], baseline, evaluation)
        lines.append(
            f"  flips at 1 against the gallery encoder's own query: {verdict.nfr_at_1:.2%} of queries broken "
            f"(nfr@1), {verdict.pfr_at_1:.2%} mended (pfr@1)"
        )
        lines += _worst(verdict)
        lines.append(_cost(evaluation.encoders[name], evaluation.encoders[gallery]))
    return lines


def asked_lines(evaluation: Evaluation) -> list[str]:
    """What was asked for besides: verification, open set, differences to a baseline, gates."""
    lines: list[str] = []
    for title, rows in (("verification", evaluation.verification), ("open set", evaluation.open_set)):
        for row in rows or ():
            lines += ["", f"{title}, queries by {row.query}, items by {row.gallery}:", *_points(row)]
    for curve in evaluation.backfill or ():
        lines += ["", f"back-fill, queries by {curve.query}, order {curve.order}:", *_backfill(curve)]
    if evaluation.baseline is not None:
        lines += _baseline(evaluation.baseline)
    if evaluation.gates:
        lines += ["", "gates:"]
        words = {True: "holds", False: "does not hold", None: "is undefined"}
        for gate in evaluation.gates:
            answer = "met    " if gate.met else "NOT MET"
            lines.append(f"  {answer} {gate.query}: '{gate.expression}' {words[gate.holds]}; {observed(gate)}")
    return lines


def _worst(verdict: Verdict) -> list[str]:
    broken = [(label, row) for label, row in verdict.flips.items() if row.nfr_at_1 > 0][:WORST]
    if len(verdict.flips) < 2 or not broken:
        return []
    told = (f"{label} {row.nfr_at_1:.2%} of {row.n:,} (difference {row.delta:+.2%})" for label, row in broken)
    return [f"  broken most, by class: {'; '.join(told)}"]


def _points(row: PointsRow) -> Iterator[str]:
    yield "  " + ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in row.counts.items())
    for name, rate in row.rates.items():
        if rate is None:
            yield f"  {name} undefined: {row.reasons[name]}"
        else:
            yield f"  {name} {rate:.4f}, at scores above {row.thresholds[name]:.4f}"


def _backfill(row: BackfillRow) -> Iterator[str]:
    for metric in SPOKEN:
        points = [f"{row.former[metric]:.4f} before"]
        points += [f"{row.metrics[metric][at]:.4f} at {row.shares[at]:.0%}" for at in (0, len(row.shares) // 2, -1)]
        low, high = row.area_intervals[metric]
        yield f"  {metric}: {', '.join(points)}; area {row.areas[metric]:.4f} [{low:.4f}, {high:.4f}]"
        if row.differences is not None:
            difference, low, high = row.differences[metric]
            yield f"    area against the random order {difference:+.4f} [{low:+.4f}, {high:+.4f}]"


def _baseline(section: dict[str, Any]) -> list[str]:
    lines = ["", f"against the baseline {section['path']}:"]
    for query, compared in section["queries"].items():
        lines.append(f"  {query}, then {compared['compared_with']}:")
        both = ("baseline", "now")
        known = {
            name: pair for name, pair in compared["figures"].items() if all(pair[when] is not None for when in both)
        }
        for name, pair in known.items():
            if pair["difference"] is None:
                before, now = (str(pair[when]).lower() for when in both)
                lines.append(f"    {name:<15} {before} → {now}")
            else:
                lines.append(f"    {name:<15} {pair['baseline']:.4f} → {pair['now']:.4f}  {pair['difference']:+.4f}")
        if not known:
            why = next(iter(compared["reasons"].values()), "no figure is defined")
            lines.append(f"    nothing can be compared: {why}")
    return lines


def _scope(evaluation: Evaluation) -> str:
    skipped = evaluation.n_without_positives
    line = f"{evaluation.data}: {evaluation.n_queries:,} queries against {evaluation.n_gallery:,} items"
    return f"{line}; {skipped:,} queries without a relevant item left out" if skipped else line


def _claims(
    metric: str, verdict: Verdict, light: MatrixRow, own: MatrixRow, baseline: MatrixRow | None
) -> list[str]:
    lines = []
    for claim, answer, name, other in (
        ("compatible", verdict.compatible[metric], "M(q,q)", own),
        ("useful", verdict.useful[metric], "M(q*,q*)", baseline),
    ):
        if other is None:
            lines.append(f"  {claim} by {metric}: {_ANSWER[answer]}; {verdict.reasons[claim]}")
            continue
        found = verdict.differences[claim][metric]
        low, high = found["ci"]
        lines.append(
            f"  {claim} by {metric}: {_ANSWER[answer]}; M(q,g) {light.metrics[metric]:.4f} against {name} "
            f"{other.metrics[metric]:.4f}, difference {found['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"
        )
    return lines


def _ratios(
    metric: str, verdict: Verdict, light: MatrixRow, baseline: MatrixRow | None, evaluation: Evaluation
) -> list[str]:
    ceiling = f"M(g,g) {evaluation.paragon['metrics'][metric]:.4f} ({evaluation.paragon['source']})"
    above = f"M(q,g) {light.metrics[metric]:.4f}"
    lines = []
    retention, gain = verdict.retention[metric], verdict.gain[metric]
    if retention is not None:
        lines.append(f"  retention by {metric}: {retention:.4f} = {above} / {ceiling}")
    if gain is not None and baseline is not None:
        start = f"M(q*,q*) {baseline.metrics[metric]:.4f}"
        lines.append(f"  gain by {metric}: {gain:.4f} of the way from {start} to {ceiling}")
    return lines


def _cost(light: EncoderRow, heavy: EncoderRow) -> str:
    parts = [_times("parameters", light.params, heavy.params), _times("MACs", light.macs, heavy.macs)]
    if light.bytes and heavy.bytes:
        parts.append(_times("bytes", light.bytes, heavy.bytes))
    if light.latency_ms is not None and heavy.latency_ms is not None:
        parts.append(f"{light.latency_ms:.2f} ms an image against {heavy.latency_ms:.2f} ms on one thread")
    return "  cost: " + "; ".join(parts)


def _times(unit: str, light: int, heavy: int) -> str:
    ratio = f" ({heavy / light:.1f} times fewer)" if 0 < light < heavy else ""
    return f"{light:,} {unit} against {heavy:,}{ratio}"
