"""``hetsearch inspect``: what lies at a path, and is it whole?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hetsearch.cli.console import emit, table
from hetsearch.files import dump_json

if TYPE_CHECKING:
    from hetsearch.query.describe import Description

WIDTH = 110  # of a value; --json has it whole
NOTHING: tuple[Any, ...] = (None, {}, [])  # not shown
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
    for name, value in facts.items():
        lines += _lines(name, value)
    if matrix:
        columns = [name for name in matrix[0] if not name.endswith("_ci")]
        lines += ["", table([[_cell(row.get(name)) for name in columns] for row in matrix], columns)]
    if found.files:
        rows = [[name, state] for name, state in found.files.items()]
        lines += ["", table(rows, ["file", "checksum"])]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else _word(value)


def _lines(name: str, value: Any) -> list[str]:
    """One line for a fact, and one more for each part of it where parts have parts; none where there is nothing."""
    if value in NOTHING:
        return []
    if isinstance(value, dict) and any(isinstance(part, dict) for part in value.values()):
        parts = [f"  {inner:<19} {_clipped(part)}" for inner, part in value.items() if part not in NOTHING]
        return [name, *parts]
    return [f"{name:<21} {_clipped(value)}"]


def _clipped(value: Any) -> str:
    text = _word(value)
    return text if len(text) <= WIDTH else f"{text[:WIDTH - 1]}…"


def _word(value: Any) -> str:
    """As a person reads it: JSON's words, not Python's."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_word(item)}" for name, item in _flat(value))
    if isinstance(value, list):
        parts = any(isinstance(item, (dict, list)) for item in value)
        return f"{len(value):,} entries" if parts else ", ".join(map(_word, value))
    if value is None or isinstance(value, bool):
        return dump_json(value).rstrip()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _flat(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, dict):
            yield from ((f"{name}.{inner}", leaf) for inner, leaf in _flat(item))
        elif item not in NOTHING[1:]:
            yield name, item
