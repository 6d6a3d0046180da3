from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hetsearch.errors import ConfigError, DamagedArtifact, UsageError
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


def test_a_training_starts_from_pretrained_weights_of_the_backbone(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    trained = train_gallery(recipe_for(encoder=ENCODER), tmp_path / "first")
    whole = load_file(trained.bundle / "model.safetensors")
    backbone = {name.removeprefix("backbone."): array for name, array in whole.items() if name.startswith("backbone.")}
    save_file({**backbone, "classifier.weight": np.zeros((5, 16), dtype=np.float32)}, tmp_path / "pre.safetensors")
    recipe = recipe_for(
        encoder={**ENCODER, "initial": str(tmp_path / "pre.safetensors")},
        optimizer=STILL,
        schedule={"epochs": 1},
        seed=7,
    )
    after = load_file(train_gallery(recipe, tmp_path / "second").bundle / "model.safetensors")
    first = "backbone.convolutions.0.0.weight"
    np.testing.assert_allclose(after[first], whole[first], atol=1e-6)
    assert not np.allclose(after["embedding.weight"], whole["embedding.weight"], atol=1e-3)


def test_pretrained_weights_of_another_network_are_refused(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    save_file({"conv_stem.weight": np.zeros((8, 3, 3, 3), dtype=np.float32)}, tmp_path / "other.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    other, torn = (
        recipe_for(encoder={**ENCODER, "initial": str(tmp_path / f"{name}.safetensors")}) for name in ("other", "torn")
    )
    with pytest.raises(ConfigError, match="weights of another network"):
        train_gallery(other, tmp_path / "a")
    with pytest.raises(DamagedArtifact, match="cannot be read"):
        train_gallery(torn, tmp_path / "b")
