"""The figures of a report under the names that a gate uses, for one query encoder.

    compatible.METRIC  useful.METRIC                    true, false, or null where undecided
    retention.METRIC   retention.METRIC.low / .high     M(q,g) / M(g,g), and its 95 % interval
    gain.METRIC        paragon.METRIC                   paragon: the float32 M(g,g) that retention divides by
    M(q,g).METRIC      M(q,g).METRIC.low / .high        likewise M(q,q), M(g,g), M(q*,q*), M(q*,g)
    nfr@1  pfr@1  delta_r@1  worst.nfr@1                worst: of the class that breaks most
    nfr@1[CLASS]  pfr@1[CLASS]                          as nfr@1[Shirt]; the class's name may hold anything but ]
    M(q,g).tar@FAR     M(g,g).tar@FAR                   with --verification; FAR is 1e-1 … 1e-6
    M(q,g).tpir@FPIR   M(g,g).tpir@FPIR                 with --open-set; FPIR is 1e-1 … 1e-3
    q.params  q.macs  q.bytes  q.latency_ms             likewise g and q*
    n_queries  n_gallery  n_without_positives

METRIC is p@1, r@10, map or map@r.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hetsearch.evaluation.gates.conditions import Kind, Value
from hetsearch.evaluation.result import FARS, FPIRS, METRICS
from hetsearch.evaluation.verdict import NO_FREE

CELLS = {"M(q,g)": "qg", "M(q,q)": "qq", "M(g,g)": "gg", "M(q*,q*)": "ff", "M(q*,g)": "fg"}
COSTS = ("params", "macs", "bytes", "latency_ms")
COUNTS = ("n_queries", "n_gallery", "n_without_positives")
TRUTHS = ("compatible", "useful")
BASELINE = "baseline."


class Figure(NamedTuple):
    """One figure; ``value`` is None where it is undefined, and then ``reason`` says why."""

    value: Value
    reason: str = ""


def figures_of(document: Mapping[str, Any], query: str, classes: Sequence[str] = ()) -> dict[str, Figure]:
    """Every figure by name. The names depend on ``classes`` alone, never on what the report holds.

    Args:
        document: ``report.json``, or what becomes it.
        query: name of the query encoder.
        classes: whose flips have names.
    """
    return dict(_figures(_Report(document, query), classes))


def known_figures(classes: Sequence[str] = ()) -> dict[str, Kind]:
    """Every name, and whether it is a number or a truth."""
    names = figures_of({}, "", classes)
    return {name: "truth" if name.partition(".")[0] in TRUTHS else "number" for name in names}


class _Report:
    """What lies where in a report; a report of an older version may lack some of it."""

    def __init__(self, document: Mapping[str, Any], query: str) -> None:
        self.document = document
        self.encoders = _inner(document, "encoders")
        self.verdict = _inner(_inner(document, "verdicts"), query)
        self.reasons = _inner(self.verdict, "reasons")
        names = {role: self._first(role) for role in ("gallery", "free")}
        self.names = {"q": query, "g": names["gallery"], "f": names["free"]}

    def _first(self, role: str) -> str | None:
        return next((name for name in self.encoders if _inner(self.encoders, name).get("role") == role), None)

    def row(self, table: str, pair: str) -> Mapping[str, Any]:
        """The row of one pair in a table of pairs."""
        wanted = tuple(self.names[side] for side in pair)
        rows = self.document.get(table)
        for row in rows if isinstance(rows, (list, tuple)) else ():
            if isinstance(row, Mapping) and None not in wanted and (row.get("query"), row.get("gallery")) == wanted:
                return row
        return {}

    def why(self, name: str, fallback: str = "the report does not have it") -> str:
        """The report's own reason, of the figure or of its family."""
        return str(self.reasons.get(name) or self.reasons.get(name.partition(".")[0]) or fallback)


def _figures(report: _Report, classes: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    for family in (*TRUTHS, "retention", "gain"):
        values = _inner(report.verdict, family)
        for metric in METRICS:
            name = f"{family}.{metric}"
            yield name, _figure(values.get(metric), report.why(name), truth=family in TRUTHS)
    ratios = _inner(_inner(report.verdict, "differences"), "retention")
    for metric in METRICS:
        why = report.why(f"retention.{metric}.ci", report.why(f"retention.{metric}"))
        yield from _ends(f"retention.{metric}", _inner(ratios, metric).get("ci"), why)
        yield f"paragon.{metric}", _figure(_inner(_inner(report.document, "paragon"), "metrics").get(metric))
    yield from _cells(report)
    yield from _flips(report, classes)
    for side, letter in (("q", "q"), ("g", "g"), ("q*", "f")):
        row = _inner(report.encoders, report.names[letter] or "")
        for cost in COSTS:
            # 0 stands for what is not known; taken for a number, it would meet every gate on a cost.
            why = str(_inner(row, "reasons").get(cost) or "it was not measured") if row else NO_FREE
            yield f"{side}.{cost}", _figure(row.get(cost) or None, why)
    for count in COUNTS:
        yield count, _figure(report.document.get(count))


def _cells(report: _Report) -> Iterator[tuple[str, Figure]]:
    for cell, pair in CELLS.items():
        row = report.row("matrix", pair)
        why = NO_FREE if "f" in pair and report.names["f"] is None else "the report has no such row"
        for metric in METRICS:
            yield f"{cell}.{metric}", _figure(row.get(metric), why)
            yield from _ends(f"{cell}.{metric}", row.get(f"{metric}_ci"), why)
    for table, rate, shares in (("verification", "tar", FARS), ("open_set", "tpir", FPIRS)):
        for cell in ("M(q,g)", "M(g,g)"):
            row = report.row(table, CELLS[cell])
            for share in shares:
                name = f"{rate}@{share}"
                why = str(_inner(row, "reasons").get(name) or f"the report has no {table.replace('_', ' ')}")
                yield f"{cell}.{name}", _figure(row.get(name), why)


def _flips(report: _Report, classes: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    for rate in ("nfr@1", "pfr@1", "delta_r@1"):
        yield rate, _figure(report.verdict.get(rate))
    by_class = _inner(report.verdict, "flips")
    rates = [value for name in by_class if (value := _figure(_inner(by_class, name).get("nfr@1")).value) is not None]
    yield "worst.nfr@1", _figure(max(rates, default=None), "the report has no flips by class")
    for label in classes:
        for rate in ("nfr@1", "pfr@1"):
            yield f"{rate}[{label}]", _figure(_inner(by_class, label).get(rate), "no query of this class was scored")


def _ends(name: str, found: Any, why: str) -> Iterator[tuple[str, Figure]]:
    pair = found if isinstance(found, (list, tuple)) and len(found) == 2 else (None, None)
    for end, value in zip(("low", "high"), pair, strict=True):
        yield f"{name}.{end}", _figure(value, why)


def _figure(value: Any, why: str = "the report does not have it", *, truth: bool = False) -> Figure:
    right = isinstance(value, bool) if truth else isinstance(value, (int, float)) and not isinstance(value, bool)
    return Figure(value) if right and math.isfinite(value) else Figure(None, why)


def _inner(node: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = node.get(name)
    return found if isinstance(found, Mapping) else {}
