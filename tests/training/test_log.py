from __future__ import annotations

import json
from pathlib import Path

import pytest

from hetsearch.training import log
from hetsearch.training.log import TrainingLog


@pytest.fixture(autouse=True)
def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_tensorboard", lambda out: None)


def lines(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_resumed_run_drops_what_it_will_write_again(tmp_path: Path) -> None:
    first = TrainingLog(tmp_path, step=0)
    for step in (50, 100, 150):
        first.write(step, loss=1.0 / step)
    first.close()
    again = TrainingLog(tmp_path, step=100)
    again.write(150, loss=0.5)
    again.close()
    assert [line["step"] for line in lines(tmp_path)] == [50, 100, 150]
    assert lines(tmp_path)[-1]["loss"] == 0.5


def test_half_a_line_of_a_kill_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 50, "loss": 1.0}\n{"step": 100, "lo', encoding="utf-8")
    TrainingLog(tmp_path, step=200).close()
    assert lines(tmp_path) == [{"step": 50, "loss": 1.0}]


def test_curves_are_drawn_of_numbers_and_of_what_the_validation_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[str, float, int]] = []

    class Board:
        def add_scalar(self, name: str, value: float, step: int) -> None:
            drawn.append((name, value, step))

        def close(self) -> None:
            drawn.append(("closed", 0.0, 0))

    monkeypatch.setattr(log, "_tensorboard", lambda out: Board())
    written = TrainingLog(tmp_path, step=0)
    written.write(7, epoch=1, loss=0.25, validation={"map": 0.5})
    written.close()
    assert drawn == [("loss", 0.25, 7), ("validation/map", 0.5, 7), ("closed", 0.0, 0)]
