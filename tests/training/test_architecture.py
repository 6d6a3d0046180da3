from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hetsearch.bundle import read_card
from hetsearch.errors import ConfigError
from hetsearch.models.search_space import SearchSpace
from hetsearch.training.architecture import with_architecture
from hetsearch.training.query import train_query
from hetsearch.training.recipe import Recipe

HYBRID = "i3-c3-skip-c3-skip-c3-skip-skip-c3-skip"


def test_a_recipe_gets_an_architecture_of_the_default_space(recipe_for: Callable[..., Recipe]) -> None:
    changed = with_architecture(recipe_for(), HYBRID.replace("skip", "S3w100", 1))
    assert changed.encoder.architecture == "choice"
    assert changed.encoder.dim == recipe_for().encoder.dim
    assert changed.encoder.arguments["arch"] == HYBRID.replace("skip", "s3", 1)
    # Written out, since defaults may change.
    assert SearchSpace.model_validate(changed.encoder.arguments["search_space"]) == SearchSpace()
    assert changed.encoder.arguments["search_space"]["widths"] == [50, 100, 200]


def test_the_recipes_own_space_is_kept(recipe_for: Callable[..., Recipe]) -> None:
    own = {"stages": [{"width": 8, "choices": ["conv3"]}, {"width": 8}], "choices": ["skip"]}
    arguments = {"arch": "c3-skip", "search_space": own}
    recipe = recipe_for(encoder={"architecture": "choice", "arguments": arguments, "dim": 16})
    assert with_architecture(recipe, "c3-skip").encoder.arguments["search_space"]["choices"] == ["skip"]
    with pytest.raises(ConfigError, match="gene 2 of the architecture 'c3-c3'"):
        with_architecture(recipe, "c3-c3")


def test_an_architecture_is_trained_like_any_other(
    tmp_path: Path, recipe_for: Callable[..., Recipe], space: Path
) -> None:
    recipe = recipe_for(objectives={"frozen_classifier": {}}, schedule={"epochs": 1})
    small = with_architecture(recipe, "skip-c3-skip-s3w50-skip-s3w50-skip-skip-s3w50-skip")
    trained = train_query(small, space, tmp_path)
    card = read_card(trained.bundle)
    assert card.architecture == "choice"
    assert card.arguments["arch"].startswith("skip-c3-skip-s3w50")
