from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from hetsearch.bundle import read_card
from hetsearch.config import load_config
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.weights import arrays_of, load_network
from hetsearch.training.finish import Trained, finish
from hetsearch.training.loop import Fitted
from hetsearch.training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]
FITTED = Fitted(best={"map": 0.75, "epoch": 1}, steps=20, seconds=12.34)


@pytest.fixture
def recipe(recipe_for: MakeRecipe) -> Recipe:
    return recipe_for(encoder={"arguments": {"widths": [4, 8], "involutions": 0}, "dim": 16})


@pytest.fixture
def network(recipe: Recipe) -> EncoderNetwork:
    torch.manual_seed(3)
    made = build_network(recipe.encoder.architecture, recipe.encoder.arguments, dim=16, spec=recipe.input)
    made(torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8))  # moves the running statistics
    return made


def end(network: nn.Module, recipe: Recipe, out: Path, *, first: bool = True) -> tuple[Trained, list[str]]:
    waited: list[str] = []
    process: Any = SimpleNamespace(
        mixed_precision="no", is_main_process=first, wait_for_everyone=lambda: waited.append("all")
    )
    found = finish(
        cast(EncoderNetwork, network), recipe, FITTED, out,
        role="query", space="sp_0", accelerator=cast(Accelerator, process),
    )  # fmt: skip
    return found, waited


def test_the_bundle_holds_the_weights_and_what_made_them(
    tmp_path: Path, recipe: Recipe, network: EncoderNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/hetsearch", "train", "query", "a recipe.yaml"])
    trained, waited = end(network, recipe, tmp_path)
    assert trained == Trained(tmp_path / "query-encoder", "sp_0", FITTED.best, 12.34, first=True)
    assert waited == ["all"]
    card = read_card(trained.bundle)
    assert (card.role, card.space, card.dim, card.precision) == ("query", "sp_0", 16, "float32")
    assert card.params == (9 * 4 + 8) + (9 * 4 * 8 + 16) + (8 * 16 + 16)  # convolution and norm, twice; embedding
    assert card.macs == 784 * 9 * 4 + 196 * 9 * 4 * 8 + 8 * 16
    assert card.numbers == {"validation": FITTED.best}
    assert card.training["command"] == "hetsearch train query 'a recipe.yaml'"  # no path of this machine
    assert (card.training["steps"], card.training["seconds"]) == (20, 12.3)
    assert Recipe.model_validate(card.training["recipe"]) == recipe
    loaded = arrays_of(load_network(trained.bundle, card))
    for name, array in arrays_of(network).items():
        assert (loaded[name] == array).all(), name


def test_the_recipe_lies_beside_it_and_can_be_given_again(
    tmp_path: Path, recipe: Recipe, network: EncoderNetwork
) -> None:
    end(network, recipe, tmp_path)
    assert load_config(Recipe, tmp_path / "recipe.yaml") == recipe


def test_another_process_writes_nothing_and_waits(tmp_path: Path, recipe: Recipe, network: EncoderNetwork) -> None:
    trained, waited = end(network, recipe, tmp_path, first=False)
    assert not trained.first
    assert waited == ["all"]
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_is_made_anew_keeps_nothing_of_the_old_one(
    tmp_path: Path, recipe: Recipe, network: EncoderNetwork
) -> None:
    bundle = end(network, recipe, tmp_path)[0].bundle
    (bundle / "model.onnx").write_bytes(b"of other weights")
    end(network, recipe, tmp_path)
    assert sorted(path.name for path in bundle.iterdir()) == ["README.md", "encoder.json", "model.safetensors"]
    assert "model.onnx" not in json.loads((bundle / "encoder.json").read_text(encoding="utf-8"))["files"]
