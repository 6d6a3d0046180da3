"""The climb to a network's learning rate: which rates are tried, and which is kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hetsearch.config import load_config
from hetsearch.errors import ConfigError, Diverged
from hetsearch.nas import final
from hetsearch.nas import rate as rate_module
from hetsearch.nas.config import NasConfig
from hetsearch.nas.job import Job
from hetsearch.nas.rate import climb
from hetsearch.training.joining import Joining
from hetsearch.training.recipe import Recipe

MakeConfig = Callable[..., NasConfig]


@pytest.mark.parametrize(
    ("peak", "tried"),
    [
        (0.01, [0.01, 0.02, 0.005]),
        (0.08, [0.01, 0.02, 0.04, 0.08, 0.16]),
        (0.0025, [0.01, 0.02, 0.005, 0.0025, 0.00125]),
    ],
)
def test_the_peak_is_found_with_a_worse_rate_on_either_side(peak: float, tried: list[float]) -> None:
    asked: list[float] = []

    def measure(rate: float) -> float:
        asked.append(rate)
        return 1.0 - abs(math.log(rate / peak))

    found = climb(0.01, measure)
    assert asked == pytest.approx(tried)  # each once
    assert next(iter(found)) == pytest.approx(peak)
    assert sorted(found) == pytest.approx(sorted(tried))
    assert all(worth == 1.0 - abs(math.log(rate / peak)) for rate, worth in found.items())


def test_of_equals_the_first_is_kept() -> None:
    assert list(climb(0.01, lambda rate: 0.5)) == [0.01, 0.02, 0.005]


def diverging(above: float, peak: float) -> Callable[[float], float]:
    def measure(rate: float) -> float:
        if rate > above:
            raise Diverged("the training diverged at step 7", observed="loss nan")
        return 1.0 - abs(rate - peak)

    return measure


@pytest.mark.parametrize(
    ("above", "found"),
    [
        (0.015, {0.01: 1.0, 0.02: None, 0.005: 0.995}),
        (0.003, {0.0025: 0.9925, 0.01: None, 0.005: None, 0.00125: 0.99125}),  # the first and its half are too high
    ],
)
def test_a_rate_at_which_the_training_diverges_is_the_worst(
    above: float, found: dict[float, float | None], capsys: pytest.CaptureFixture[str]
) -> None:
    told = climb(0.01, diverging(above, 0.01))
    assert list(told) == list(found)
    assert told == pytest.approx(found)
    (first, *_) = [rate for rate, worth in found.items() if worth is None]
    assert f"learning rate {first:g}: the training diverged at step 7\n" in capsys.readouterr().err


def test_where_every_rate_diverges_it_is_said() -> None:
    with pytest.raises(Diverged, match=r"at every learning rate.*observed 0\.01 to .*optimizer\.clip"):
        climb(0.01, diverging(0.0, 0.01))


def test_the_winner_has_the_rate_that_was_found_and_the_race_is_not_run_twice(
    tmp_path: Path, config_of: MakeConfig, document: dict[str, Any], space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"changes": {"schedule.epochs": 1}}
    race = {**short, "count": 2, "differ": 1}
    config = config_of(search={**document["search"], "final": race, "learning_rate": short})
    trained: list[tuple[float, str]] = []

    def train(recipe: Recipe, joining: Joining, out: Path) -> tuple[dict[str, float], float]:
        assert recipe.schedule.epochs == 1
        rate = recipe.optimizer.lr
        trained.append((rate, out.relative_to(tmp_path).parts[0]))
        return {"map": 1.0 - abs(rate - 0.0025), "homogeneous_map": 0.5}, 3.0

    for module in (final, rate_module):
        monkeypatch.setattr(module, "train_alone", train)
    job = Job(config, space, tmp_path)
    found = job.search(job.train())
    assert trained == [
        (0.01, "final"), (0.01, "final"), (0.01, "final"), (0.02, "rate"), (0.005, "rate"), (0.0025, "rate"),
        (0.00125, "rate"),
    ]  # fmt: skip
    assert found.rate == 0.0025
    assert load_config(Recipe, found.recipe) == config.winner_recipe(found.winner, 0.0025)
    report = json.loads(found.report.read_text())
    assert report["lr"] == 0.0025
    assert report["rates"][:2] == [
        {"rate": 0.0025, "reward": 0.5, "seconds": 3.0},
        {"rate": 0.01, "reward": 0.49625, "seconds": 0.0},  # the race's
    ]
    assert len(report["rates"]) == 5
    assert (report["seconds"]["final"], report["seconds"]["rates"]) == (6.0, 12.0)


def test_the_optimizer_of_the_trials_is_the_winners(config_of: MakeConfig, document: dict[str, Any]) -> None:
    rate = {"changes": {"optimizer": {"lr": 0.5}}}
    with pytest.raises(ConfigError, match=r"'optimizer\.lr' has to be the winner's.*begin at recipe\.optimizer\.lr"):
        config_of(search={**document["search"], "learning_rate": rate})
