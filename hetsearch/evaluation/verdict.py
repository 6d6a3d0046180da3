"""What may be claimed of a query encoder, from per-query numbers on the same queries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.bundle import BLEND, EncoderCard
from hetsearch.evaluation.result import METRICS, FlipRow, Verdict
from hetsearch.evaluation.scores import PerQuery
from hetsearch.metrics import (
    bootstrap_means,
    flip_rates,
    flip_rates_by_class,
    interval,
    mean_interval,
    ratio_interval,
)
from hetsearch.metrics.bootstrap import FEWEST
from hetsearch.metrics.ranking import Column

NO_FREE = "no free encoder was given (--free), so there is no M(q*,q*) to compare with"


@dataclass(frozen=True)
class Paragon:
    """M(g, g) of the float32 gallery encoder: the denominator of retention.

    Attributes:
        source: ``measured, float32``, ``measured, int8-weights`` … or ``recorded, float32``; of a blend
            ``recorded, float32, unblended``, or ``measured, blend``.
        metrics: by metric, fractions.
        values: by metric, per query; None where only the means were recorded.
    """

    source: str
    metrics: dict[str, float]
    values: PerQuery | None

    def as_dict(self) -> dict[str, Any]:
        """The paragon of ``report.json``."""
        return {"source": self.source, "metrics": self.metrics}


def paragon_of(card: EncoderCard, data: str, own: PerQuery) -> Paragon:
    """The float32 gallery encoder's M(g, g), measured if ``card`` is float32, else as its card recorded it.

    A record counts only if it is of the same data and the same number of queries. The M(g, g) of a blend is something
    else, whatever its precision: it is the record of its gallery encoder that counts, which a blend takes over.

    Args:
        card: the gallery encoder's.
        data: name of the data.
        own: M(g, g) as measured now, per query.
    """
    measured = {metric: float(own[metric].mean()) for metric in METRICS}
    blend = card.architecture == BLEND
    if card.precision == "float32" and not blend:
        return Paragon("measured, float32", measured, own)
    recorded = card.numbers.get("paragon")
    if (
        isinstance(recorded, dict)
        and recorded.get("data") == data
        and recorded.get("n_queries") == len(own[METRICS[0]])
        and isinstance(recorded.get("metrics"), dict)
        and all(_is_fraction(recorded["metrics"].get(metric)) for metric in METRICS)
    ):
        metrics = {metric: float(recorded["metrics"][metric]) for metric in METRICS}
        return Paragon("recorded, float32, unblended" if blend else "recorded, float32", metrics, None)
    return Paragon(f"measured, {BLEND if blend else card.precision}", measured, own)


def judge(
    light: PerQuery,
    own: PerQuery,
    reference: PerQuery,
    paragon: Paragon,
    free: PerQuery | None,
    labels: Column | None = None,
) -> Verdict:
    """The verdict of one query encoder.

    Args:
        light: M(q, g) by metric, per query, ``(n_queries,)``.
        own: M(q, q), the same queries.
        reference: M(g, g) as measured, the same queries: what the flips are counted against.
        paragon: the denominator of retention.
        free: M(q*, q*), the same queries, or None without a free encoder.
        labels: the class of each query, for the flips by class; None leaves those out.
    """
    reasons: dict[str, str] = {}
    compatible, differences = _claim("compatible", "M(q,g) - M(q,q)", light, own, reasons)
    compared: dict[str, dict[str, Any]] = {"compatible": differences}
    useful: dict[str, bool | None] = dict.fromkeys(METRICS)
    gain: dict[str, float | None] = dict.fromkeys(METRICS)
    if free is None:
        reasons["useful"] = reasons["gain"] = NO_FREE
    else:
        useful, compared["useful"] = _claim("useful", "M(q,g) - M(q*,q*)", light, free, reasons)
        gain = {metric: _gain(metric, light, free, paragon, reasons) for metric in METRICS}
    compared["retention"] = {metric: _retention(metric, light, paragon, reasons) for metric in METRICS}
    flips = flip_rates(reference["p@1"], light["p@1"])
    return Verdict(
        compatible=compatible,
        useful=useful,
        retention={metric: compared["retention"][metric]["ratio"] for metric in METRICS},
        gain=gain,
        nfr_at_1=flips.negative,
        pfr_at_1=flips.positive,
        differences=compared,
        reasons=reasons,
        flips={} if labels is None else flips_by_class(reference["p@1"], light["p@1"], labels),
    )


def flips_by_class(reference: NDArray[np.float64], light: NDArray[np.float64], labels: Column) -> dict[str, FlipRow]:
    """Flips of each class, those that break most first.

    Args:
        reference: ``(n_queries,)``, 1 where the gallery encoder's own query finds a right first hit, else 0.
        light: ``(n_queries,)``, the same of the light query.
        labels: ``(n_queries,)``.

    Raises:
        DataError: see :func:`hetsearch.metrics.flip_rates_by_class`.
    """
    column = np.asarray(labels)
    rows = []
    for label, flips in flip_rates_by_class(reference, light, column).items():
        before, now = (float(side[column == label].mean()) for side in (reference, light))
        rows.append((str(label), FlipRow(flips.queries, flips.negative, flips.positive, before, now)))
    return dict(sorted(rows, key=lambda row: (-row[1].nfr_at_1, row[1].delta, row[0])))


def _claim(
    name: str, what: str, first: PerQuery, second: PerQuery, reasons: dict[str, str]
) -> tuple[dict[str, bool | None], dict[str, Any]]:
    """True, false or open, for each metric: is ``first`` above ``second``?"""
    paired = np.stack([first[metric] - second[metric] for metric in METRICS], axis=1)
    draws = bootstrap_means(paired)
    claims: dict[str, bool | None] = {}
    differences: dict[str, Any] = {}
    for column, metric in enumerate(METRICS):
        low, high = interval(draws[:, column])
        difference = float(first[metric].mean() - second[metric].mean())
        claims[metric] = None if low <= 0 <= high or len(paired) < FEWEST else difference > 0
        differences[metric] = {"difference": difference, "ci": [low, high]}
        if len(paired) < FEWEST:
            reasons[f"{name}.{metric}"] = f"{len(paired)} queries are too few for an interval; it takes {FEWEST}"
        elif claims[metric] is None:
            reasons[f"{name}.{metric}"] = f"the 95 % interval of {what}, [{low:+.4f}, {high:+.4f}], holds 0"
    return claims, differences


def _retention(metric: str, light: PerQuery, paragon: Paragon, reasons: dict[str, str]) -> dict[str, Any]:
    below = paragon.metrics[metric]
    if below == 0:
        reasons[f"retention.{metric}"] = "M(g,g) is 0"
        return {"ratio": None, "ci": None}
    if paragon.values is None:
        ends = [end / below for end in mean_interval(light[metric])]
    else:
        ends = list(ratio_interval(light[metric], paragon.values[metric]))
    defined = all(map(math.isfinite, ends))
    if not defined:
        reasons[f"retention.{metric}.ci"] = "M(g,g) is 0 in some draws of queries"
    return {"ratio": float(light[metric].mean()) / below, "ci": ends if defined else None}


def _gain(
    metric: str, light: PerQuery, free: PerQuery, paragon: Paragon, reasons: dict[str, str]
) -> float | None:
    baseline = float(free[metric].mean())
    room = paragon.metrics[metric] - baseline
    if room <= 0:
        reasons[f"gain.{metric}"] = (
            f"M(q*,q*) {baseline:.4f} is not below M(g,g) {paragon.metrics[metric]:.4f}: nothing to gain"
        )
        return None
    return (float(light[metric].mean()) - baseline) / room


def _is_fraction(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and 0 <= value <= 1
