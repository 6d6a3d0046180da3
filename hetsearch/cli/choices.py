"""How the commands write what ``--factory auto`` chose, and among what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hetsearch.cli.console import table

if TYPE_CHECKING:
    from hetsearch.gallery import Candidate, Choice


def choice_text(choice: Choice) -> str:
    """The table of a choice, and a line that says what in it is measured."""
    figures = "recall and time are measured on"
    if choice.estimated:
        figures = f"recall and time among {choice.count:,} vectors are estimated from measurements on"
    note = f"{figures} {choice.sample:,} vectors with {choice.queries:,} queries, {choice.threads} threads"
    lines = [candidates_text(choice.candidates), note, f"the first that meets: {choice.limits}"]
    if (found := choice.confirmed) is not None:
        lines.append(
            f"finished, {choice.factory} has recall@10 {found.recall:.3f} among all and takes {found.latency_ms:.3f} "
            f"ms a query, by {found.queries} queries"
        )
    return "\n".join(lines)


def candidates_text(candidates: Sequence[Candidate]) -> str:
    """One row for each kind of index; a dash where nothing was measured."""
    rows = [
        [
            found.factory,
            "-" if found.recall is None else f"{found.recall:.3f}",
            "-" if found.latency_ms is None else f"{found.latency_ms:.3f}",
            f"{found.bytes / 1e6:,.2f}",
            "yes" if found.removable else "no",
            ", ".join(name.partition("_")[2] for name in found.missed) or "none",
        ]
        for found in candidates
    ]
    return table(rows, ["index", "recall@10", "ms/query", "MB", "can remove", "limits not met"])
