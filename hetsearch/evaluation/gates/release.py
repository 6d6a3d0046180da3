"""May it be released? The gates of ``--fail-if``, read before anything is measured and judged afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hetsearch.data.images import ImageSet
from hetsearch.errors import GateNotMet, UsageError
from hetsearch.evaluation.gates.baseline import (
    REPORT,
    baseline_figures,
    check_baseline,
    compare,
    read_baseline,
)
from hetsearch.evaluation.gates.conditions import Kind, Value
from hetsearch.evaluation.gates.figures import BASELINE, figures_of, known_figures
from hetsearch.evaluation.gates.gate import Gate, parse
from hetsearch.evaluation.result import Evaluation, GateRow


@dataclass(frozen=True)
class Release:
    """What an evaluation will be held against.

    Attributes:
        gates: the expressions, read.
        classes: labels of the images.
        baseline: the older report, or None.
        path: where it was read.
    """

    gates: tuple[Gate, ...]
    classes: tuple[str, ...]
    baseline: dict[str, Any] | None = None
    path: Path | None = None

    @classmethod
    def plan(
        cls,
        images: ImageSet,
        space: str,
        expressions: Sequence[str] = (),
        baseline: Path | None = None,
        *,
        out: Path | None = None,
        verification: bool = False,
        open_set: bool = False,
    ) -> Release:
        """Read gates and baseline, and refuse what cannot work, before anything is embedded.

        Args:
            images: what will be evaluated.
            space: the gallery encoder's.
            expressions: each ``--fail-if``.
            baseline: an older ``report.json``, or its folder.
            out: the folder that the new report will be written into.
            verification: whether TAR at FAR will be measured.
            open_set: whether TPIR at FPIR will be.

        Raises:
            UsageError: an expression cannot be read, or the baseline is no report, one of other data, or about to be
                overwritten.
            SpaceMismatch: the baseline is of another space.
            DamagedArtifact: the baseline cannot be read.
        """
        asked = {"baseline": baseline is not None, "verification": verification, "open_set": open_set}
        gates = read_gates(expressions, images.classes, **asked)
        older = None if baseline is None else read_baseline(baseline)
        if older is not None:
            check_baseline(older, images, space)
        if baseline is not None and out is not None:
            _keep(baseline, out)
        return cls(gates, images.classes, older, baseline)

    def judge(self, found: Evaluation) -> Evaluation:
        """The evaluation with the differences to the baseline, and with what came of each gate."""
        document = found.as_dict()
        if self.baseline is not None and self.path is not None:
            found = replace(found, baseline=compare(document, self.baseline, self.path))
        if self.gates:
            found = replace(found, gates=judge_gates(self.gates, document, self.classes, self.baseline))
        return found


def _keep(baseline: Path, out: Path) -> None:
    file = baseline / REPORT if baseline.is_dir() else baseline
    if (out / REPORT).exists() and file.samefile(out / REPORT):
        # A report that failed its gates would become the baseline of the next run, which would then pass.
        raise UsageError(
            "the baseline report would be overwritten",
            observed=f"'{baseline}' in --out '{out}'",
            expected="another folder",
            hint="Choose another --out.",
        )


def read_gates(
    expressions: Sequence[str],
    classes: Sequence[str],
    *,
    baseline: bool = False,
    verification: bool = False,
    open_set: bool = False,
) -> tuple[Gate, ...]:
    """Read every expression against the names that the report will have.

    Args:
        expressions: as given.
        classes: labels of the images.
        baseline: whether there is a report to compare with.
        verification: whether TAR at FAR will be measured.
        open_set: whether TPIR at FPIR will be.

    Raises:
        UsageError: see :func:`hetsearch.evaluation.gates.gate.parse`.
    """
    known = known_figures(classes)
    missing: dict[str, str] = {}
    for part, asked, flag in ((".tar@", verification, "--verification"), (".tpir@", open_set, "--open-set")):
        if not asked:
            missing |= {name: f"It is measured with {flag}." for name in known if part in name}
    named = {f"{BASELINE}{name}": kind for name, kind in known.items()}
    now: dict[str, Kind] = {name: kind for name, kind in known.items() if name not in missing}
    if baseline:
        now |= named
    else:
        missing |= dict.fromkeys(named, "Name the report with --baseline.")
    return tuple(parse(text, now, missing) for text in expressions)


def judge_gates(
    gates: Sequence[Gate],
    document: Mapping[str, Any],
    classes: Sequence[str],
    baseline: Mapping[str, Any] | None = None,
) -> tuple[GateRow, ...]:
    """Judge every gate for every query encoder; an undefined expression counts as not met.

    Args:
        gates: from ``read_gates``.
        document: what was found, as ``report.json`` has it.
        classes: labels of the images.
        baseline: the older report, if there is one.
    """
    rows = []
    for query in document["verdicts"]:
        figures = figures_of(document, query, classes)
        if baseline is not None:
            older = baseline_figures(document, baseline, query, classes)
            figures |= {f"{BASELINE}{name}": figure for name, figure in older.items()}
        for gate in gates:
            chosen = {name: figures[name] for name in gate.names}
            values = {name: figure.value for name, figure in chosen.items()}
            reasons = {name: figure.reason for name, figure in chosen.items() if figure.value is None}
            holds = gate.of(values)
            rows.append(GateRow(gate.text, query, holds is False, holds, values, reasons, gate.wanted))
    return tuple(rows)


def require_gates(rows: Sequence[GateRow]) -> None:
    """Raise where a gate is not met; without gates nothing is asked for.

    Raises:
        GateNotMet: with every expression that failed, what was observed and what would have met it.
    """
    failed = [row for row in rows if not row.met]
    if not failed:
        return
    first = failed[0]
    others = [f"Nor is '{row.expression}' for '{row.query}': {observed(row)}." for row in failed[1:]]
    raise GateNotMet(
        f"the gate '{first.expression}' is not met by '{first.query}'",
        observed=observed(first),
        expected=first.wanted,
        hint=" ".join(others) or None,
    )


def observed(row: GateRow) -> str:
    """The figures of a gate in words, and why one is undefined.

    >>> observed(GateRow("gain.map < 0.5", "q", False, None, {"gain.map": None}, {"gain.map": "no room"}, ""))
    'gain.map undefined (no room)'
    """
    told = [f"{name} {_word(value, row.reasons.get(name, ''))}" for name, value in row.figures.items()]
    return ", ".join(told) or f"that it is always {_word(row.holds, '')}"


def _word(value: Value, reason: str) -> str:
    if value is None:
        return f"undefined ({reason})"
    return str(value).lower() if isinstance(value, bool) else f"{value:.6g}"
