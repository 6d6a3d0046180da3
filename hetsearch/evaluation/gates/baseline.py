"""An older report to compare with: of the same images, and of the same space.

Another space is refused, not compared: retention, gain and compatibility are shares of the space's own ceiling, so
between two spaces their difference says nothing. Encoders of several spaces belong into
:func:`hetsearch.evaluation.compatibility_matrix`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hetsearch.data.images import ImageSet
from hetsearch.errors import UsageError
from hetsearch.evaluation.gates.conditions import Value
from hetsearch.evaluation.gates.figures import COUNTS, Figure, figures_of
from hetsearch.evaluation.result import METRICS, SCHEMA
from hetsearch.files import read_json, require_schema
from hetsearch.space import require_space

REPORT = "report.json"
COMPARED = (
    *(f"{family}.{metric}" for family in ("compatible", "useful", "retention", "gain") for metric in METRICS),
    *(f"{cell}.{metric}" for cell in ("M(q,g)", "M(q,q)", "M(g,g)") for metric in METRICS),
    "nfr@1", "pfr@1", "worst.nfr@1",
)  # fmt: skip


def listing_of(images: ImageSet) -> str:
    """What images are evaluated, as 16 hexadecimal digits: keys, labels, groups and roles, not pixels."""
    digest = hashlib.sha256()
    for column in (images.keys, images.labels, images.groups, images.roles):
        for value in column or ("no such column",):
            digest.update(value.encode("utf-8", "surrogatepass") + b"\0")
        digest.update(b"\1")
    return digest.hexdigest()[:16]


def read_baseline(path: Path) -> dict[str, Any]:
    """Read an older ``report.json``, or the one in a folder.

    Raises:
        UsageError: there is none, or it is no report of an evaluation.
        DamagedArtifact: it cannot be read, or is of another schema.
    """
    path = path / REPORT if path.is_dir() else path
    document = read_json(path, what="an evaluation report")
    kinds = {"data": str, "space": str, "verdicts": dict, "matrix": list, "encoders": dict}
    for name, kind in kinds.items():
        if not isinstance(document.get(name), kind) or not document[name]:
            raise UsageError(
                f"'{path}' is no evaluation report",
                observed=f"no '{name}'",
                expected="the report.json of 'hetsearch evaluate --out'",
            )
    # After the kinds: that a file is no report at all says more than that its schema is another.
    require_schema(document, SCHEMA, path)
    return document


def check_baseline(baseline: Mapping[str, Any], images: ImageSet, space: str) -> None:
    """Refuse a report that cannot be compared with, before anything is embedded.

    Args:
        baseline: the older report.
        images: what will be evaluated.
        space: the gallery encoder's.

    Raises:
        UsageError: it is of other images.
        SpaceMismatch: it is of another space.
    """
    settings = baseline.get("settings")
    listing = settings.get("listing") if isinstance(settings, Mapping) else None
    # A report without a listing is of an older version; the name must do.
    observed, expected = (listing, listing_of(images)) if listing else (baseline["data"], images.name)
    if observed != expected:
        raise UsageError(
            "the baseline report is of other data",
            observed=f"'{baseline['data']}'" + (f", listing {observed}" if listing else ""),
            expected=f"'{images.name}'" + (f", listing {expected}" if listing else ""),
            hint="Give the report of an evaluation of the same images, labels, groups and roles.",
        )
    require_space(baseline["space"], space, what="the baseline report and the gallery encoder")


def baseline_figures(
    document: Mapping[str, Any], baseline: Mapping[str, Any], query: str, classes: Sequence[str] = ()
) -> dict[str, Figure]:
    """The older report's figures of the encoder with the same name, or else of its first one.

    Where the two did not score the same queries and items (an image could not be read), all are undefined: figures of
    other queries are not compared.
    """
    figures = figures_of(baseline, counterpart(baseline, query), classes)
    if (why := _other_images(document, baseline)) is not None:
        return {name: Figure(None, why) for name in figures}
    return {
        name: figure if figure.value is not None else Figure(None, f"in the baseline report: {figure.reason}")
        for name, figure in figures.items()
    }


def counterpart(baseline: Mapping[str, Any], query: str) -> str:
    """Name of the older report's query encoder that ``query`` is compared with."""
    return query if query in baseline["verdicts"] else str(next(iter(baseline["verdicts"])))


def compare(document: Mapping[str, Any], baseline: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The section ``baseline`` of ``report.json``: each figure then, now, and the difference.

    Args:
        document: what was found now, as ``report.json`` has it.
        baseline: the older report.
        path: where it was read.
    """
    queries = {}
    for query in document["verdicts"]:
        now, before = figures_of(document, query), baseline_figures(document, baseline, query)
        queries[query] = {
            "compared_with": counterpart(baseline, query),
            "figures": {
                name: {
                    "baseline": before[name].value,
                    "now": now[name].value,
                    "difference": _difference(before[name].value, now[name].value),
                }
                for name in COMPARED
            },
            "reasons": {
                name: reason
                for name in COMPARED
                for reason in [now[name].reason or before[name].reason]
                if reason
            },
        }
    return {"path": str(path), "data": baseline["data"], "space": baseline["space"], "queries": queries}


def _other_images(document: Mapping[str, Any], baseline: Mapping[str, Any]) -> str | None:
    for count in COUNTS:
        before, now = baseline.get(count), document.get(count)
        if before != now:
            return f"the baseline report has {count} {before}, this one {now}"
    if _left_out(baseline) != _left_out(document):
        return "in the baseline report other images were left out"
    return None


def _left_out(report: Mapping[str, Any]) -> set[str]:
    """Keys of the images that could not be read; a report of an older version may not tell them."""
    settings = report.get("settings")
    failures = settings.get("failures") if isinstance(settings, Mapping) else None
    told = failures if isinstance(failures, list) else []
    return {str(failure.get("key")) for failure in told if isinstance(failure, Mapping)}


def _difference(before: Value, now: Value) -> float | None:
    if before is None or now is None or isinstance(before, bool) or isinstance(now, bool):
        return None
    return now - before
