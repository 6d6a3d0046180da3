"""What an evaluation found: the objects behind ``report.json`` and the report's pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.space import Embeddings

SCHEMA = 1
METRICS = ("p@1", "r@10", "map", "map@r")  # the columns of the matrix
FARS = ("1e-1", "1e-2", "1e-3", "1e-4", "1e-5", "1e-6")  # false accept rates of a verification
FPIRS = ("1e-1", "1e-2", "1e-3")  # false positive rates of an identification
NO_FILE = "not measured: the encoder has no ONNX file"

Interval = tuple[float, float]


@dataclass(frozen=True)
class EncoderRow:
    """One encoder: what it is and what it costs."""

    role: str
    space: str
    params: int
    macs: int
    bytes: int | None  # of model.onnx
    latency_ms: float | None  # median of one image, one thread, ONNX Runtime
    precision: str = "float32"

    @property
    def reasons(self) -> dict[str, str]:
        """Why a cost is None, by its name."""
        costs = {"bytes": self.bytes, "latency_ms": self.latency_ms}
        return {name: NO_FILE for name, cost in costs.items() if cost is None}

    def as_dict(self) -> dict[str, Any]:
        """The row of ``report.json``."""
        return {**vars(self), "reasons": self.reasons}


@dataclass(frozen=True)
class MatrixRow:
    """M(query, gallery): mean and 95 % interval of each metric, as fractions."""

    query: str
    gallery: str
    kind: str  # paragon, baseline, homogeneous, heterogeneous, control
    metrics: dict[str, float]
    intervals: dict[str, Interval]

    def as_dict(self) -> dict[str, Any]:
        """The row of ``report.json``: ``p@1`` and ``p@1_ci`` side by side."""
        flat: dict[str, Any] = {"query": self.query, "gallery": self.gallery, "kind": self.kind}
        for name, value in self.metrics.items():
            flat[name] = value
            flat[f"{name}_ci"] = list(self.intervals[name])
        return flat


@dataclass(frozen=True)
class FlipRow:
    """Flips at the first hit among the queries of one class, the light query against the gallery encoder's own."""

    n: int  # scored queries of the class
    nfr_at_1: float  # right by the gallery encoder's query, wrong by the light one
    pfr_at_1: float  # the other way about
    reference: float  # P@1 of the gallery encoder's own queries: M(g,g)
    light: float  # P@1 of the light queries: M(q,g)

    @property
    def delta(self) -> float:
        """The difference of the two P@1, which equals PFR - NFR."""
        return self.light - self.reference

    def as_dict(self) -> dict[str, Any]:
        """The row of ``report.json``."""
        return {
            "n": self.n,
            "nfr@1": self.nfr_at_1,
            "pfr@1": self.pfr_at_1,
            "delta_r@1": self.delta,
            "M(g,g)": self.reference,
            "M(q,g)": self.light,
        }


@dataclass(frozen=True)
class PointsRow:
    """Working points of one pair of encoders: TAR by FAR, or TPIR by FPIR.

    Attributes:
        query, gallery: names of the encoders.
        counts: what was counted, by name.
        rates: ``tar@1e-3`` and so on; None where there are too few impostors for so small a rate.
        reached: by the same names, the false rate at the threshold, at most what was asked for.
        thresholds: by the same names; a score above is accepted, an equal one is not.
        reasons: by the same names, why a rate is None.
    """

    query: str
    gallery: str
    counts: dict[str, int]
    rates: dict[str, float | None]
    reached: dict[str, float | None]
    thresholds: dict[str, float | None]
    reasons: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """The row of ``report.json``."""
        names = {"query": self.query, "gallery": self.gallery}
        told = {"false_rates": self.reached, "thresholds": self.thresholds, "reasons": self.reasons}
        return {**names, **self.counts, **self.rates, **told}


@dataclass(frozen=True)
class BackfillRow:
    """Quality while an older gallery encoder's vectors are replaced, in one order.

    Attributes:
        query: name of the query encoder.
        order: of the items.
        shares: of the items that are embedded again, 0 to 1.
        metrics: at each share, by metric.
        intervals: at each share, by metric.
        former: of the older gallery encoder on both sides, by metric: what there was before the upgrade.
        areas: under the curve, by metric; with ``area_intervals``.
        differences: of the area to that of the random order: mean, and the ends of the paired interval; None for the
            random order itself.
    """

    query: str
    order: str
    shares: tuple[float, ...]
    metrics: dict[str, tuple[float, ...]]
    intervals: dict[str, tuple[Interval, ...]]
    former: dict[str, float]
    areas: dict[str, float]
    area_intervals: dict[str, Interval]
    differences: dict[str, tuple[float, float, float]] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The row of ``report.json``."""
        against = None
        if self.differences is not None:
            against = {m: {"difference": mean, "ci": [low, high]} for m, (mean, low, high) in self.differences.items()}
        return {
            "query": self.query,
            "order": self.order,
            "share": self.shares,
            **self.metrics,
            **{f"{metric}_ci": ends for metric, ends in self.intervals.items()},
            "before": self.former,
            "area": {**self.areas, **{f"{metric}_ci": ends for metric, ends in self.area_intervals.items()}},
            "area_against_random": against,
        }


@dataclass(frozen=True)
class GateRow:
    """What came of one ``--fail-if`` for one query encoder.

    Attributes:
        expression: as it was given.
        query: name of the query encoder.
        met: whether the gate is met; undefined counts as not met.
        holds: the value of the expression: False where the gate is met, None where undefined.
        figures: what the expression names.
        reasons: why a figure is None.
        wanted: what would have met the gate.
    """

    expression: str
    query: str
    met: bool
    holds: bool | None
    figures: dict[str, float | bool | None]
    reasons: dict[str, str]
    wanted: str


@dataclass(frozen=True)
class Verdict:
    """What may be claimed of one query encoder. Each dictionary is by metric.

    ``compatible`` and ``useful`` are None where the interval of the paired difference holds 0, and ``useful`` and
    ``gain`` are None without a free encoder; ``reasons`` says why.
    """

    compatible: dict[str, bool | None]
    useful: dict[str, bool | None]
    retention: dict[str, float | None]
    gain: dict[str, float | None]
    nfr_at_1: float
    pfr_at_1: float
    differences: dict[str, dict[str, Any]] = field(default_factory=dict)  # the paired differences behind it
    reasons: dict[str, str] = field(default_factory=dict)
    flips: dict[str, FlipRow] = field(default_factory=dict)  # by class

    def as_dict(self) -> dict[str, Any]:
        """The verdict of ``report.json``."""
        return {
            "compatible": self.compatible,
            "useful": self.useful,
            "retention": self.retention,
            "gain": self.gain,
            "nfr@1": self.nfr_at_1,
            "pfr@1": self.pfr_at_1,
            "delta_r@1": self.pfr_at_1 - self.nfr_at_1,
            "flips": {label: row.as_dict() for label, row in self.flips.items()},
            "differences": self.differences,
            "reasons": self.reasons,
        }


@dataclass(frozen=True)
class Example:
    """One real query and its first hits in the gallery, for the eye."""

    key: str
    label: str
    hits: tuple[tuple[str, str, float], ...]  # key, label, score


@dataclass(frozen=True)
class Evaluation:
    """One evaluation, whole.

    Attributes:
        data: name of the data (``fashion-mnist:test``).
        n_queries: queries that were scored.
        n_gallery: items in the gallery.
        n_without_positives: queries left out because no item has their label.
        encoders: by name; the gallery encoder, the query encoders, the free encoder.
        matrix: rows in the order paragon, then per query encoder, then baseline and control.
        verdicts: by name of the query encoder, in the order given.
        paragon: M(g, g) of the float32 gallery encoder by metric, and where it comes from.
        recall: ``(query, gallery)`` → R@k for k = 1 … len, fractions.
        embeddings: by encoder name, of the query images (for the picture in one plane).
        labels: label of each of those rows.
        examples: by query encoder: queries with their hits, failures included.
        settings: protocol, seed of the bootstrap, versions, machine, command.
        verification: TAR at FAR of (q, g) and (g, g); None where it was not asked for.
        open_set: TPIR at FPIR of the same; None where it was not asked for.
        backfill: quality while the vectors of an older gallery encoder are replaced; None where none was given.
        baseline: the differences to an older report; None where none was given.
        gates: what came of each ``--fail-if``; None where none was given.
    """

    data: str
    n_queries: int
    n_gallery: int
    n_without_positives: int
    encoders: dict[str, EncoderRow]
    matrix: tuple[MatrixRow, ...]
    verdicts: dict[str, Verdict]
    paragon: dict[str, Any]
    recall: dict[tuple[str, str], NDArray[np.float64]]
    embeddings: dict[str, Embeddings]
    labels: tuple[str, ...]
    examples: dict[str, tuple[Example, ...]]
    settings: dict[str, Any] = field(default_factory=dict)
    verification: tuple[PointsRow, ...] | None = None
    open_set: tuple[PointsRow, ...] | None = None
    backfill: tuple[BackfillRow, ...] | None = None
    baseline: dict[str, Any] | None = None
    gates: tuple[GateRow, ...] | None = None

    def as_dict(self) -> dict[str, Any]:
        """``report.json``, but for the checksums of the files beside it, which writing adds."""
        verdicts = {name: verdict.as_dict() for name, verdict in self.verdicts.items()}
        asked = {
            "verification": self.verification and [row.as_dict() for row in self.verification],
            "open_set": self.open_set and [row.as_dict() for row in self.open_set],
            "backfill": self.backfill and [row.as_dict() for row in self.backfill],
            "baseline": self.baseline,
            "gates": self.gates and [vars(row) for row in self.gates],
        }
        return {
            "schema": SCHEMA,
            "space": next((row.space for row in self.encoders.values() if row.role == "gallery"), None),
            "data": self.data,
            "n_queries": self.n_queries,
            "n_gallery": self.n_gallery,
            "n_without_positives": self.n_without_positives,
            "encoders": {name: row.as_dict() for name, row in self.encoders.items()},
            "matrix": [row.as_dict() for row in self.matrix],
            "paragon": self.paragon,
            "verdicts": verdicts,
            "verdict": next(iter(verdicts.values()), None),
            **{name: table for name, table in asked.items() if table is not None},
            "settings": self.settings,
        }
