"""The race of a search's best few: who takes part, who wins, and that nothing is trained twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hetsearch.errors import ConfigError, Diverged
from hetsearch.nas import final
from hetsearch.nas.config import NasConfig
from hetsearch.nas.final import hold_final, unlike
from hetsearch.nas.rewards import reward_of
from hetsearch.nas.search import Found
from hetsearch.nas.train import open_search
from hetsearch.training import loop
from hetsearch.training.query import train_query
from hetsearch.training.recipe import Recipe

MakeConfig = Callable[..., NasConfig]
NAMES = ("c3-s3-s3w50-c3", "c3-s3-s3w50-skip", "c3-c3-c3-s3", "c3-skip-s3-c3")


@pytest.fixture
def config(config_of: MakeConfig, document: dict[str, Any]) -> NasConfig:
    race = {"count": 2, "differ": 2, "changes": {"schedule.epochs": 1}}
    return config_of(search={**document["search"], "final": race})


def test_rivals_are_unlike_each_other() -> None:
    ranked = [(1, 2, 3), (1, 2, 4), (1, 5, 4), (6, 5, 4), (9, 9, 9)]
    assert unlike(ranked, 3, 2) == [(1, 2, 3), (1, 5, 4), (9, 9, 9)]
    assert unlike(ranked, 2, 1) == ranked[:2]
    assert unlike(ranked, 9, 3) == [(1, 2, 3), (6, 5, 4), (9, 9, 9)]  # fewer than were asked for


def test_the_best_after_a_training_of_its_own_wins(
    tmp_path: Path, config: NasConfig, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joining, paths = open_search(config, space)
    found = Found({paths.read(name): 0.9 - 0.1 * rank for rank, name in enumerate(NAMES)})
    held = hold_final(config, config.reward, joining, paths, found, tmp_path / "final")
    assert {one.arch for one in held} == {NAMES[0], NAMES[2]}  # the second is a sibling of the first
    # Each as good as the same training by the command of its own.
    for one in held:
        alone = train_query(config.final_recipe(one.arch), space, tmp_path / f"alone {one.arch}")
        assert one.metrics == alone.best
        assert one.alone == reward_of(alone.best, config.reward)
    assert held[0].alone == max(one.alone or 0.0 for one in held)

    monkeypatch.setattr(loop._Run, "_step", lambda *_: pytest.fail("what is trained is not trained again"))
    assert hold_final(config, config.reward, joining, paths, found, tmp_path / "final") == held


def test_the_order_of_the_supernet_can_be_turned_round(
    tmp_path: Path, config: NasConfig, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joining, paths = open_search(config, space)
    found = Found({paths.read(name): 0.9 - 0.1 * rank for rank, name in enumerate(NAMES)})
    worth = {NAMES[0]: 0.3, NAMES[2]: 0.6}
    monkeypatch.setattr(
        final,
        "train_alone",
        lambda recipe, *_: ({"map": worth[recipe.encoder.arguments["arch"]], "homogeneous_map": 0.5}, 1.0),
    )
    held = hold_final(config, config.reward, joining, paths, found, tmp_path)
    assert [(one.arch, one.alone) for one in held] == [(NAMES[2], 0.3), (NAMES[0], 0.15)]


def test_a_finalist_whose_training_diverges_is_the_last(
    tmp_path: Path,
    config_of: MakeConfig,
    config: NasConfig,
    space: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    joining, paths = open_search(config, space)
    found = Found({paths.read(name): 0.9 - 0.1 * rank for rank, name in enumerate(NAMES)})
    survivors = {NAMES[2]}

    def train(recipe: Recipe, *_: object) -> tuple[dict[str, float], float]:
        if recipe.encoder.arguments["arch"] not in survivors:
            raise Diverged("the training diverged at step 7", observed="loss nan")
        return {"map": worth, "homogeneous_map": 0.5}, 1.0

    worth = 0.0
    monkeypatch.setattr(final, "train_alone", train)
    held = hold_final(config, config.reward, joining, paths, found, tmp_path)
    assert [(one.arch, one.alone) for one in held] == [(NAMES[2], 0.0), (NAMES[0], None)]  # useless, but a number
    worth = 0.1
    monkeypatch.setattr(final, "train_alone", train)
    held = hold_final(config, config.reward, joining, paths, found, tmp_path)
    assert [(one.arch, one.alone) for one in held] == [(NAMES[2], 0.05), (NAMES[0], None)]
    assert f"final, 1 of 2: {NAMES[0]}, the training diverged at step 7\n" in capsys.readouterr().err
    survivors.clear()
    with pytest.raises(Diverged, match=r"each finalist diverged: observed 2 at recipe\.optimizer\.lr 0\.01"):
        hold_final(config, config.reward, joining, paths, found, tmp_path)
    lower = config_of(search={**config.search.model_dump(mode="json"), "learning_rate": {}})
    held = hold_final(lower, config.reward, joining, paths, found, tmp_path)  # the winner's may be found lower
    assert [(one.arch, one.alone) for one in held] == [(NAMES[0], None), (NAMES[2], None)]


def test_without_a_final_the_best_by_the_supernet_wins(tmp_path: Path, config_of: MakeConfig, space: Path) -> None:
    config = config_of()
    joining, paths = open_search(config, space)
    found = Found({paths.read(name): 0.1 * rank for rank, name in enumerate(NAMES)})
    (only,) = hold_final(config, config.reward, joining, paths, found, tmp_path)
    assert (only.arch, only.alone) == (NAMES[-1], None)
    assert not list(tmp_path.iterdir())


def test_who_has_no_rival_wins_without_a_race(
    tmp_path: Path, config_of: MakeConfig, document: dict[str, Any], space: Path
) -> None:
    config = config_of(search={**document["search"], "final": {"differ": 99}})
    joining, paths = open_search(config, space)
    found = Found({paths.read(name): 0.1 * rank for rank, name in enumerate(NAMES)})
    (only,) = hold_final(config, config.reward, joining, paths, found, tmp_path)
    assert (only.arch, only.alone) == (NAMES[-1], None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("of", ["final", "learning_rate"])
def test_a_wrong_change_is_told_before_the_supernet_is_trained(
    of: str, config_of: MakeConfig, document: dict[str, Any], space: Path
) -> None:
    config = config_of(search={**document["search"], of: {"changes": {"schedule.epoch": 1}}})
    with pytest.raises(ConfigError, match=r"unknown key 'schedule\.epoch'"):
        open_search(config, space)
