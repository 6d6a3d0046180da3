"""The training's log: one JSON object a line, and TensorBoard if it is installed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from hetsearch.files import write_text

LOG = "log.jsonl"


class TrainingLog:
    """Appends to ``log.jsonl``. Lines after ``step`` are dropped first: a resumed run writes them again."""

    def __init__(self, out: Path, *, step: int) -> None:
        self.path = out / LOG
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
            write_text(self.path, "".join(f"{line}\n" for line in kept))
        self.board = _tensorboard(out)

    def write(self, step: int, **values: Any) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self.board is not None:
            for name, value in _flat(values):
                self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush what TensorBoard still holds."""
        if self.board is not None:
            self.board.close()


def _flat(values: dict[str, Any]) -> list[tuple[str, float]]:
    """What a curve can be drawn of; ``{"validation": {"map": 0.9}}`` is called ``validation/map``."""
    named = [(name, value) for name, value in values.items() if isinstance(value, float)]
    for group, inner in values.items():
        if isinstance(inner, dict):
            named += [(f"{group}/{name}", value) for name, value in _flat(inner)]
    return named


def _step_of(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 1 << 62  # half a line, from a kill while it was written


def _tensorboard(out: Path) -> Any:
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(out / "tensorboard"))
