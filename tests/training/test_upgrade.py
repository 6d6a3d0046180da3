from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hetsearch.bundle import read_card
from hetsearch.models.weights import load_network
from hetsearch.training.images import load_splits
from hetsearch.training.recipe import Recipe
from hetsearch.training.reference import Reference
from hetsearch.training.upgrade import compatibility_record


@pytest.mark.parametrize(("per_class", "claims"), [(4, False), (20, True)])
def test_a_handful_of_queries_is_no_claim(
    tmp_path: Path,
    recipe_for: Callable[..., Recipe],
    space: Path,
    fashion_folder: Path,
    fashion_train_folder: Path,
    per_class: int,
    claims: bool,
) -> None:
    # An untrained network against a trained encoder: as clear a difference as there is.
    for image in (f"class-{label}/{number:03}.png" for label in (1, 9) for number in range(per_class)):
        (tmp_path / "few" / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(fashion_folder / image, tmp_path / "few" / image)
    recipe = recipe_for(data={"train": str(fashion_train_folder), "validation": str(tmp_path / "few")})
    bundle = space / "gallery-encoder"
    network = load_network(bundle, read_card(bundle)).eval()
    network.embedding.weight.data.mul_(-1)  # finds what is least alike
    network.embedding.bias.data.mul_(-1)
    record = compatibility_record(network, Reference.open(space), load_splits(recipe)[1])
    found = record["differences"]["map"]
    assert found["difference"] < 0
    assert found["ci"][1] < 0
    assert record["compatible"]["map"] is (False if claims else None)
