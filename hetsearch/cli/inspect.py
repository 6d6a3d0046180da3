"""``hetsearch inspect``: what lies at a path, and is it whole?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hetsearch.cli.console import emit, table
from hetsearch.files import dump_json

if TYPE_CHECKING:
    from hetsearch.query.describe import Description

WIDTH = 80  # of a value; --json has it whole
MATRIX = "matrix"  # of a report


def inspect(
    path: Path, *, json: Annotated[bool, Parameter(help="The description as JSON.", negative="")] = False
) -> int:
    """Say what a bundle, a space, a gallery or an evaluation report is, and whether its files are whole.

    Exit code 1 if a file was changed or is missing.

    Args:
        path: the folder, or the file of a report.
    """
    from hetsearch.query.describe import describe

    found = describe(path)
    emit(dump_json(found.as_dict()).rstrip() if json else _text(found))
    return 0 if found.whole else 1


def _text(found: Description) -> str:
    facts = dict(found.facts)
    matrix = facts.pop(MATRIX, None)
    lines = [f"{found.path}: {found.kind}", ""]
    lines += [f"{name:<22}{_value(value)}" for name, value in facts.items() if value not in (None, {}, [])]
    if matrix:
        columns = [name for name in matrix[0] if not name.endswith("_ci")]
        lines += ["", table([[_cell(row.get(name)) for name in columns] for row in matrix], columns)]
    if found.files:
        rows = [[name, state] for name, state in found.files.items()]
        lines += ["", table(rows, ["file", "checksum"])]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _value(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if isinstance(value, dict):
        text = ", ".join(f"{name} {item}" for name, item in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        text = f"{value:,}"
    return text if len(text) <= WIDTH else f"{text[:WIDTH - 1]}…"
