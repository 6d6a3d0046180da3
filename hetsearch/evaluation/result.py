"""What an evaluation found: the objects behind ``report.json`` and the report's pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.space import Embeddings

SCHEMA = 1
METRICS = ("p@1", "r@10", "map", "map@r")  # the columns of the matrix

Interval = tuple[float, float]


@dataclass(frozen=True)
class EncoderRow:
    """One encoder: what it is and what it costs."""

    role: str
    space: str
    params: int
    macs: int
    bytes: int  # of model.onnx
    latency_ms: float | None  # median of one image, one thread, ONNX Runtime
    precision: str = "float32"


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

    def as_dict(self) -> dict[str, Any]:
        """The verdict of ``report.json``."""
        return {
            "compatible": self.compatible,
            "useful": self.useful,
            "retention": self.retention,
            "gain": self.gain,
            "nfr@1": self.nfr_at_1,
            "pfr@1": self.pfr_at_1,
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

    def as_dict(self) -> dict[str, Any]:
        """``report.json``, but for the checksums of the files beside it, which writing adds."""
        verdicts = {name: verdict.as_dict() for name, verdict in self.verdicts.items()}
        return {
            "schema": SCHEMA,
            "space": next((row.space for row in self.encoders.values() if row.role == "gallery"), None),
            "data": self.data,
            "n_queries": self.n_queries,
            "n_gallery": self.n_gallery,
            "n_without_positives": self.n_without_positives,
            "encoders": {name: vars(row) for name, row in self.encoders.items()},
            "matrix": [row.as_dict() for row in self.matrix],
            "paragon": self.paragon,
            "verdicts": verdicts,
            "verdict": next(iter(verdicts.values()), None),
            "settings": self.settings,
        }
