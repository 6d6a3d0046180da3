"""What the report says, before it is laid out: verdicts in words, savings, examples, reasons."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hetsearch.evaluation.report.plots import METRIC_NAMES, human
from hetsearch.evaluation.result import METRICS, Evaluation, Interval, Verdict

Thumbnail = Callable[[str], bytes | None]

_MEDIA = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_TINY = 64  # a picture of so few pixels is shown as pixels, not blurred


@dataclass(frozen=True)
class Claim:
    """What one metric says of one query encoder, with the absolute figures behind each answer."""

    metric: str
    compatible: bool | None
    useful: bool | None
    retention: float | None
    retention_ci: Interval | None
    gain: float | None
    found: dict[str, float]  # M by kind of search: heterogeneous, homogeneous, paragon, baseline


@dataclass(frozen=True)
class Saving:
    """One cost of a query: the light encoder's against the gallery encoder's."""

    factor: str
    what: str
    figures: str


@dataclass(frozen=True)
class Difference:
    """A paired difference behind a verdict. ``low`` and ``high`` are its 95 % interval."""

    claim: str
    metric: str
    mean: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Subject:
    """One query encoder and all that the first two sections say of it."""

    name: str
    headline: str
    claims: tuple[Claim, ...]
    savings: tuple[Saving, ...]
    differences: tuple[Difference, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Thumb:
    """One small picture as a data URI (None where it cannot be shown); a hit has a score too."""

    key: str
    label: str
    uri: str | None
    tiny: bool = False
    score: float | None = None
    right: bool | None = None  # None without labels


@dataclass(frozen=True)
class Row:
    """A query and its hits."""

    query: Thumb
    hits: tuple[Thumb, ...]
    failed: bool | None


def subjects_of(evaluation: Evaluation) -> tuple[Subject, ...]:
    """Every query encoder that has a verdict, in the order given."""
    subjects = []
    for name, verdict in evaluation.verdicts.items():
        told = [metric for metric in METRIC_NAMES if metric in verdict.compatible]
        claims = tuple(_claim(evaluation, name, metric) for metric in told)
        differences = tuple(_differences(verdict))
        subjects.append(
            Subject(name, headline(claims), claims, _savings(evaluation, name), differences, verdict)
        )
    return tuple(subjects)


def symbols_of(evaluation: Evaluation) -> dict[str, str]:
    """By encoder, its sign in formulas: ``g``, ``q`` (``q₁``, ``q₂`` … where there are several), ``q*``."""
    signs: dict[str, str] = {}
    for role, sign in (("gallery", "g"), ("query", "q"), ("free", "q*")):
        names = [name for name, encoder in evaluation.encoders.items() if encoder.role == role]
        for index, name in enumerate(names, start=1):
            signs[name] = sign if len(names) == 1 else sign + str(index).translate(_SUBSCRIPTS)
    return signs


def headline(claims: tuple[Claim, ...]) -> str:
    """The verdict in words, by the first two metrics: mAP and P@1."""
    compatible = [(METRIC_NAMES[claim.metric], claim.compatible) for claim in claims[:2]]
    useful = [(METRIC_NAMES[claim.metric], claim.useful) for claim in claims[:2]]
    if not compatible:
        return "No verdict"
    first = _clause(compatible, "compatible", "not compatible", "compatibility undecided")
    if not any("baseline" in claim.found for claim in claims):
        text = f"{first}; usefulness not tested"
    elif compatible == useful:
        both = ("compatible and useful", "neither compatible nor useful", "compatibility and usefulness undecided")
        text = _clause(compatible, *both)
    else:
        text = f"{first}; {_clause(useful, 'useful', 'not useful', 'usefulness undecided')}"
    return text[0].upper() + text[1:]


def rows_of(evaluation: Evaluation, query: str | None, thumbnail: Thumbnail) -> tuple[Row, ...]:
    """The examples of one query encoder with their pictures, failures (a wrong first hit) first."""
    rows = []
    for example in evaluation.examples.get(query or "", ()):
        hits = []
        for key, label, score in example.hits:
            right = label == example.label if example.label else None
            hits.append(_thumb(key, label, thumbnail, score, right))
        failed = not hits[0].right if hits and hits[0].right is not None else None
        rows.append(Row(_thumb(example.key, example.label, thumbnail), tuple(hits), failed))
    return tuple(sorted(rows, key=lambda row: not row.failed))


def reasons_of(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """What is null in the evaluation, and why."""
    several = len(evaluation.verdicts) > 1
    found = [
        (f"{owner}: {name}" if several else name, reason)
        for owner, verdict in evaluation.verdicts.items()
        for name, reason in verdict.reasons.items()
    ]
    for name, encoder in evaluation.encoders.items():
        found += [(f"{name}: {cost}", reason) for cost, reason in encoder.reasons.items()]
    for row in (*(evaluation.verification or ()), *(evaluation.open_set or ())):
        found += [(f"{row.query} → {row.gallery}: {point}", reason) for point, reason in row.reasons.items()]
    return tuple(found)


def ceiling_of(evaluation: Evaluation) -> dict[str, float]:
    """M(g, g) of the float32 gallery encoder by metric, as the verdict used it."""
    known = evaluation.paragon.get("metrics", {})
    return {metric: float(known[metric]) for metric in METRICS if known.get(metric) is not None}


def flat(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """A nested dictionary as lines ``name · inner name`` and text."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{path}{key} · ")
        elif isinstance(value, (list, tuple)):
            parts = (part.values() if isinstance(part, Mapping) else (part,) for part in value)
            yield f"{path}{key}", "; ".join(": ".join(map(str, part)) for part in parts) or "none"
        elif isinstance(value, bool):
            yield f"{path}{key}", "yes" if value else "no"
        else:
            yield f"{path}{key}", "–" if value is None else str(value)


def number(value: float | None, sign: bool = False) -> str:
    """A fraction with four decimals and a true minus; an en dash for what is undefined."""
    if value is None or not math.isfinite(value):
        return "–"
    return (f"{value:+.4f}" if sign else f"{value:.4f}").replace("-", "−")


def percent(value: float | None) -> str:
    """A fraction as per cent with one decimal."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value * 100:.1f} %".replace("-", "−")


def size(count: int | None) -> str:
    """Bytes for a person (powers of ten), or the words for none."""
    if count is None:
        return "no file"
    return f"{human(count)}B" if count >= 1000 else f"{count} B"


def milliseconds(value: float | None) -> str:
    """A latency, or the words for none."""
    if value is None:
        return "not measured"
    return f"{value:.2f} ms" if value < 10 else f"{value:.1f} ms"


def _claim(evaluation: Evaluation, name: str, metric: str) -> Claim:
    verdict = evaluation.verdicts[name]
    found: dict[str, float] = {}
    for row in evaluation.matrix:
        shared = row.kind in ("paragon", "baseline")  # the first free encoder is the verdict's
        if shared or (row.query == name and row.kind != "control"):
            found.setdefault(row.kind, row.metrics[metric])
    found.update({"paragon": ceiling[metric]} if metric in (ceiling := ceiling_of(evaluation)) else {})
    ends = verdict.differences.get("retention", {}).get(metric, {}).get("ci")
    return Claim(
        metric=metric,
        compatible=verdict.compatible[metric],
        useful=verdict.useful.get(metric),
        retention=verdict.retention.get(metric),
        retention_ci=(float(ends[0]), float(ends[1])) if ends else None,
        gain=verdict.gain.get(metric),
        found=found,
    )


def _clause(answers: list[tuple[str, bool | None]], yes: str, no: str, undecided: str) -> str:
    metrics: dict[bool | None, list[str]] = {}
    for metric, answer in answers:
        metrics.setdefault(answer, []).append(f"by {metric}")
    words = {True: yes, False: no, None: undecided}
    parts = [f"{words[answer]} {' and '.join(by)}" for answer, by in metrics.items()]
    return ", ".join([parts[0], *(part.replace(undecided, "undecided") for part in parts[1:])])


def _differences(verdict: Verdict) -> Iterator[Difference]:
    for claim in ("compatible", "useful"):
        for metric in METRIC_NAMES:
            found = verdict.differences.get(claim, {}).get(metric, {})
            if {"difference", "ci"} <= found.keys():
                low, high = found["ci"]
                yield Difference(claim, metric, float(found["difference"]), float(low), float(high))


def _savings(evaluation: Evaluation, name: str) -> tuple[Saving, ...]:
    light = evaluation.encoders.get(name)
    heavy = next((row for row in evaluation.encoders.values() if row.role == "gallery"), None)
    if light is None or heavy is None:
        return ()
    return (
        _saving(light.macs, heavy.macs, "fewer MACs", "more MACs", human),
        _saving(light.params, heavy.params, "fewer parameters", "more parameters", human),
        _saving(light.bytes, heavy.bytes, "smaller file", "larger file", size),
        _saving(light.latency_ms, heavy.latency_ms, "faster, one thread", "slower, one thread", milliseconds),
    )


def _saving(
    light: float | None, heavy: float | None, less: str, more: str, show: Callable[[Any], str]
) -> Saving:
    figures = f"{show(light)} against {show(heavy)}"
    if not light or not heavy:
        return Saving("–", less, figures)
    ratio = max(heavy / light, light / heavy)
    factor = f"{ratio:,.0f}×" if ratio >= 20 else f"{ratio:.1f}×"
    return Saving(factor, less if heavy >= light else more, figures)


def _thumb(
    key: str, label: str, thumbnail: Thumbnail, score: float | None = None, right: bool | None = None
) -> Thumb:
    content = thumbnail(key)
    media = next((kind for magic, kind in _MEDIA.items() if content and content.startswith(magic)), None)
    if content is None or media is None:
        return Thumb(key, label, None, score=score, right=right)
    # Bytes 16 to 20 of a PNG are its width.
    tiny = media == "image/png" and int.from_bytes(content[16:20], "big") <= _TINY
    uri = f"data:{media};base64,{base64.b64encode(content).decode('ascii')}"
    return Thumb(key, label, uri, tiny, score, right)
