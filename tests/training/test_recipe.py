from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hetsearch.bundle import read_card
from hetsearch.config import load_config, validate
from hetsearch.errors import ConfigError
from hetsearch.models.network import ARCHITECTURES
from hetsearch.training.recipe import Recipe

ROOT = Path(__file__).parents[2]
# Those of searches hold a recipe, and are tested with the searches.
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "nas")
LEAST: dict[str, Any] = {
    "data": {"train": "a", "validation": "b"}, "input": {}, "objectives": {"classification": None}
}  # fmt: skip


def test_there_are_recipes() -> None:
    assert {path.parent.name for path in CONFIGS} >= {"fashion-mnist", "emoji", "paper-a"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_recipe_in_the_repository_can_be_read(path: Path) -> None:
    recipe = load_config(Recipe, path)
    arguments, _ = ARCHITECTURES[recipe.encoder.architecture]
    validate(arguments, recipe.encoder.arguments, where=str(path))
    # What a bundle records, and the quickstart trains by, is the same recipe again.
    assert validate(Recipe, recipe.model_dump(mode="json"), where="the card") == recipe


@pytest.mark.parametrize("name", ["gallery", "query", "free"])
def test_the_released_encoders_were_trained_by_these_recipes(name: str) -> None:
    recorded = read_card(ROOT / "zoo" / "fashion-mnist" / f"{name}-encoder").training["recipe"]
    config = ROOT / "configs" / "fashion-mnist" / f"{name}.yaml"
    assert validate(Recipe, recorded, where="the card") == load_config(Recipe, config)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"batches": {"size": 100, "samples_per_class": 8}}, "size 100 is no multiple of samples_per_class 8"),
        ({"data": {"train": "a"}}, r"'data\.validation' in it is wrong: expected Field required"),
        ({"input": {"channels": 3}}, r"mean has 1 values for 3 channel\(s\)"),
        ({"input": {"std": [0]}}, "std must be positive"),
        ({"encoder": {"dims": 64}}, r"unknown key 'encoder\.dims' in it\. Did you mean 'dim'\?"),
        ({"augmentation": {"flip": 1.5}}, "less than or equal to 1"),
        ({"optimizer": {"lr": 0}}, "greater than 0"),
        ({"optimizer": {"lr": float("inf")}}, "finite"),
        ({"optimizer": {"name": "adam"}}, "'sgd' or 'adamw'"),
        ({"schedule": {"epochs": 0}}, "greater than or equal to 1"),
        ({"select_by": "r@10"}, "'map', 'p@1' or 'cosine'"),
        ({"objectives": ["classification"]}, "valid dictionary"),
        ({"objectives": {"clasification": {}}}, "Did you mean 'classification'"),
    ],
)
def test_what_cannot_be_trained_is_refused(section: dict[str, Any], message: str) -> None:
    assert validate(Recipe, LEAST, where="it").objectives == {"classification": {}}
    with pytest.raises(ConfigError, match=message):
        validate(Recipe, {**LEAST, **section}, where="it")
