"""The numbers of one pair of encoders, a value a query: what means, intervals and verdicts are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import UsageError, nearest
from hetsearch.metrics import (
    Items,
    average_precision,
    average_precision_at_k,
    average_precision_at_r,
    ndcg,
    precision_at_1,
    r_precision,
    ranked_relevance,
    recall_at_each_k,
    recall_at_k,
)

CURVE = 100  # longest k of the recall curve

PerQuery: TypeAlias = "dict[str, NDArray[np.float64]]"
Metric: TypeAlias = "Callable[[NDArray[np.bool_]], NDArray[np.float64]]"

# Metrics beyond the contract's, by name; those of the second kind are named with their k, as map@100.
EXTRAS: dict[str, Metric] = {"r-precision": r_precision, "ndcg": ndcg}
EXTRAS_AT: dict[str, Callable[[NDArray[np.bool_], int], NDArray[np.float64]]] = {
    "map": average_precision_at_k,
    "ndcg": ndcg,
}


@dataclass(frozen=True)
class Scores:
    """Of one pair of encoders.

    Attributes:
        values: by metric, ``(n_queries,)``, a value for each query that has positives; never NaN.
        scored: rows of the queries that have positives, ``(n_queries,)``.
        n_without_positives: queries that have none, left out everywhere.
        curve: R@k for k = 1 … min(100, items), the mean over queries.
    """

    values: PerQuery
    scored: NDArray[np.int64]
    n_without_positives: int
    curve: NDArray[np.float64]

    @property
    def n_queries(self) -> int:
        """Queries that were scored."""
        return len(self.scored)

    def means(self) -> dict[str, float]:
        """The mean of each metric over the scored queries; NaN where there is none."""
        return {name: float(row.mean()) if len(row) else float("nan") for name, row in self.values.items()}


def score(query: Items, gallery: Items, ks: Sequence[int] = (1, 10), extra: Sequence[str] = ()) -> Scores:
    """Rank the gallery for each query and compute every metric, a block of queries at a time.

    Args:
        query: the queries.
        gallery: the items.
        ks: the k of each ``r@k``.
        extra: more metrics: ``r-precision``, ``ndcg``, ``ndcg@k``, ``map@k``.

    Raises:
        UsageError: a k that is no whole number of at least 1, or an unknown metric.
        DataError: see :func:`hetsearch.metrics.ranked_relevance`.
    """
    metrics = {**_metrics(ks), **{name: _extra(name) for name in extra}}
    length = max(1, min(CURVE, len(gallery)))
    parts: dict[str, list[NDArray[np.float64]]] = {name: [np.empty(0)] for name in metrics}
    has_positives: list[NDArray[np.bool_]] = [np.empty(0, dtype=np.bool_)]
    curve = np.zeros(length)
    for _, relevance in ranked_relevance(query, gallery):
        kept = np.asarray(relevance.any(axis=1))
        has_positives.append(kept)
        relevance = relevance[kept]
        curve += recall_at_each_k(relevance, length).sum(axis=0)
        for name, metric in metrics.items():
            parts[name].append(metric(relevance))
    scored = np.flatnonzero(np.concatenate(has_positives))
    values = {name: np.concatenate(rows) for name, rows in parts.items()}
    curve = curve / len(scored) if len(scored) else np.full(length, np.nan)
    return Scores(values, scored, len(query) - len(scored), curve)


def _metrics(ks: Sequence[int]) -> dict[str, Metric]:
    for k in ks:
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
            raise UsageError("a k of r@k is wrong", observed=repr(k), expected="a whole number, at least 1")
    recalls = {f"r@{k}": _recall_at(int(k)) for k in ks}
    return {"p@1": precision_at_1, **recalls, "map": average_precision, "map@r": average_precision_at_r}


def _recall_at(k: int) -> Metric:
    return lambda relevance: recall_at_k(relevance, k)


def _extra(name: str) -> Metric:
    if name in EXTRAS:
        return EXTRAS[name]
    family, _, k = name.partition("@")
    # Digits of other scripts are digits too, and int reads them; the name would be another one then.
    if family in EXTRAS_AT and k.isascii() and k.isdigit() and not k.startswith("0"):
        metric, cut = EXTRAS_AT[family], int(k)
        return lambda relevance: metric(relevance, cut)
    known = [*EXTRAS, *(f"{family}@k" for family in EXTRAS_AT)]
    raise UsageError("an extra metric is unknown", observed=f"'{name}'", hint=nearest(name, known))
