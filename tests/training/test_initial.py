from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hetsearch.errors import ConfigError, UsageError
from hetsearch.space import EmbeddingSpace
from hetsearch.training.gallery import train_gallery
from hetsearch.training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]
ENCODER = {"arguments": {"widths": [8, 16]}, "dim": 16}
STILL = {"name": "sgd", "lr": 1e-12, "weight_decay": 0.0}  # a training that changes nothing


def test_a_training_starts_from_an_earlier_encoder_and_its_classifier(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    first = train_gallery(recipe_for(encoder=ENCODER), tmp_path / "first")
    again = {**ENCODER, "initial": str(tmp_path / "first")}
    recipe = recipe_for(encoder=again, optimizer=STILL, schedule={"epochs": 1}, seed=7)
    second = train_gallery(recipe, tmp_path / "second")
    before, after = (dict(load_file(run.bundle / "model.safetensors")) for run in (first, second))
    for name in before:
        if "running" not in name and "num_batches" not in name:  # the statistics move with every batch seen
            np.testing.assert_allclose(after[name], before[name], atol=1e-6, err_msg=name)
    old, new = EmbeddingSpace.load(tmp_path / "first"), EmbeddingSpace.load(tmp_path / "second")
    assert old.classifier is not None
    assert new.classifier is not None
    np.testing.assert_allclose(new.classifier, old.classifier, atol=1e-6)
    assert old.id != new.id


def test_a_folder_without_an_encoder_and_another_network_are_refused(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    with pytest.raises(UsageError, match=r"encoder\.initial"):
        train_gallery(recipe_for(encoder={**ENCODER, "initial": str(tmp_path)}), tmp_path / "a")
    train_gallery(recipe_for(encoder=ENCODER, schedule={"epochs": 1}), tmp_path / "first")
    wider = {"arguments": {"widths": [8, 32]}, "dim": 16, "initial": str(tmp_path / "first")}
    with pytest.raises(ConfigError, match="another network"):
        train_gallery(recipe_for(encoder=wider), tmp_path / "b")
