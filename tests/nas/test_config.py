from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetsearch.config import load_config
from hetsearch.errors import ConfigError
from hetsearch.models.choice_network import ChoiceArguments
from hetsearch.models.search_space import SearchSpace
from hetsearch.nas.config import NasConfig
from hetsearch.nas.paths import Paths
from hetsearch.training.recipe import Recipe
from tests.models.test_search_space import HYBRID, IMAGENET

CONFIGS = Path(__file__).parents[2] / "configs"
SEARCHES = sorted((CONFIGS / "nas").glob("*.yaml"))


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.name)
def test_every_search_in_the_repository_can_be_begun(path: Path) -> None:
    config = load_config(NasConfig, path)
    paths = Paths(config.search_space, config.recipe.input, config.recipe.encoder.dim)
    config.budget.check(paths.costs)
    name = paths.spell(paths.within(config.budget, np.random.default_rng(0)))
    assert config.winner_recipe(name).encoder.arguments["arch"] == name
    supernet = config.supernet_recipe()
    assert supernet.encoder.architecture == "supernet"
    assert supernet.align is None


@pytest.mark.parametrize("data", ["fashion-mnist", "emoji"])
def test_the_searches_hold_the_hybrid_and_its_recipe(data: str) -> None:
    config = load_config(NasConfig, CONFIGS / "nas" / f"{data}.yaml")
    assert config.search_space == SearchSpace()  # what train query --arch takes
    paths = Paths(config.search_space, config.recipe.input, config.recipe.encoder.dim)
    assert config.budget.allows(paths.costs.of([paths.read(HYBRID)])[0])
    default = load_config(Recipe, CONFIGS / data / "query.yaml")
    for section in ("data", "input", "objectives", "optimizer", "batches", "align"):
        assert getattr(config.recipe, section) == getattr(default, section), section
    # FashionMNIST's search leaves mirror images out, for the time they take, and differs in nothing else.
    flip = 0 if data == "fashion-mnist" else default.augmentation.flip
    assert config.recipe.augmentation == default.augmentation.model_copy(update={"flip": flip})


def test_imagenet_is_the_space_of_the_published_networks() -> None:
    assert load_config(NasConfig, CONFIGS / "nas" / "imagenet.yaml").search_space == IMAGENET


def test_changes_are_the_same_however_they_are_written(config_of: Callable[..., NasConfig]) -> None:
    dotted = {"schedule.epochs": 7, "optimizer.lr": 0.5, "objectives": {"l2_regression": {"weight": 2.0}}}
    nested = {"schedule": {"epochs": 7}, "optimizer": {"lr": 0.5}, "objectives": {"l2_regression": {"weight": 2.0}}}
    first, second = (config_of(supernet={"changes": changes}) for changes in (dotted, nested))
    assert first == second
    recipe = second.supernet_recipe()
    assert (recipe.schedule.epochs, recipe.optimizer.lr) == (7, 0.5)
    assert recipe.schedule.checkpoint_every == first.recipe.schedule.checkpoint_every != 200  # the default
    assert recipe.objectives.keys() == {"l2_regression"}


def test_a_change_from_the_command_line_leaves_the_rest_of_its_section() -> None:
    words = ["--supernet.changes.schedule.epochs", "3", "--search.final.changes.optimizer.lr", "0.01"]
    config = load_config(NasConfig, CONFIGS / "nas" / "fashion-mnist.yaml", words)
    schedule, default = config.supernet_recipe().schedule, config.recipe.schedule
    assert (schedule.epochs, schedule.warmup, schedule.evaluate_every) == (3, default.warmup, 10)
    assert config.search.final is not None
    assert config.search.final.changes == {"schedule.epochs": 2, "optimizer.lr": 0.01}


def test_images_that_are_learnt_from_do_not_decide(
    config_of: Callable[..., NasConfig], document: dict[str, Any]
) -> None:
    data = document["recipe"]["data"]
    detour = str(Path(data["train"]).parent / "somewhere" / ".." / Path(data["train"]).name)
    (Path(data["train"]).parent / "somewhere").mkdir(exist_ok=True)
    for same in (data["train"], detour):
        with pytest.raises(ConfigError, match=r"recipe\.data\.validation: .* is what the search learns from"):
            config_of(recipe={**document["recipe"], "data": {**data, "validation": same}})
        with pytest.raises(ConfigError, match=r"test: .* is what the search learns from or chooses by"):
            config_of(test=same)


def test_a_wrong_change_of_the_supernets_recipe_is_named(config_of: Callable[..., NasConfig]) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'schedule\.epoch'"):
        config_of(supernet={"changes": {"schedule.epoch": 1}}).supernet_recipe()
    for sections in (
        {"supernet": {"changes": {"input.size": 16}}},
        {"supernet": {"changes": {"select_by": "cosine"}}},
        {"search": {"final": {"changes": {"data.train": "nowhere"}}}},
    ):
        with pytest.raises(ConfigError, match=r"has to be the winner's; what may differ: objectives, batches"):
            config_of(**sections)
    with pytest.raises(ConfigError, match="exceed population"):
        config_of(search={"evolution": {"population": 4, "mutants": 3, "crossed": 2}})


def test_the_arguments_of_a_winner_are_whole(config_of: Callable[..., NasConfig]) -> None:
    config = config_of()
    recipe = config.winner_recipe("c3-skip-c3-skip")
    assert ChoiceArguments.model_validate(recipe.encoder.arguments).search_space == config.search_space


def test_a_search_begins_from_nothing(config_of: Callable[..., NasConfig], document: dict[str, Any]) -> None:
    encoder = {**document["recipe"]["encoder"], "initial": "runs/before"}
    with pytest.raises(ConfigError, match=r"recipe\.encoder\.initial is given"):
        config_of(recipe={**document["recipe"], "encoder": encoder})


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_search_is_tested_on_images_that_it_does_not_choose_by(
    config_of: Callable[..., NasConfig], document: dict[str, Any], split: str
) -> None:
    with pytest.raises(ConfigError, match=r"is what the search learns from or chooses by"):
        config_of(test=document["recipe"]["data"][split])


@pytest.mark.parametrize("limit", [float("inf"), float("nan"), 0.0])
def test_a_budget_is_a_number(config_of: Callable[..., NasConfig], limit: float) -> None:
    with pytest.raises(ConfigError, match=r"budget\.macs"):
        config_of(budget={"macs": limit})


def test_no_choice_at_all_is_refused(config_of: Callable[..., NasConfig], document: dict[str, Any]) -> None:
    stages = [{"width": 8, "stride": 2, "choices": []}]
    with pytest.raises(ConfigError, match="no choice is given"):
        config_of(search_space={**document["search_space"], "stages": stages})
