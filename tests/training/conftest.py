from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hetsearch.export import export_bundle
from hetsearch.training.gallery import train_gallery
from hetsearch.training.recipe import Recipe


@pytest.fixture
def recipe_for(fashion_train_folder: Path, fashion_folder: Path) -> Callable[..., Recipe]:
    """A recipe for a tiny network on 400 real images; keyword arguments replace whole sections."""

    def make(**sections: Any) -> Recipe:
        return Recipe.model_validate(
            {
                "data": {"train": str(fashion_train_folder), "validation": str(fashion_folder)},
                "input": {"size": 28, "channels": 1, "background": 0, "mean": [0.286], "std": [0.353]},
                "encoder": {"arguments": {"widths": [8, 16], "dropout": 0.1}, "dim": 16},
                "objectives": {"classification": {}, "multi_similarity": {"weight": 0.5}},
                "batches": {"size": 40, "samples_per_class": 4},
                "augmentation": {"flip": 0.5, "shift": 2, "erase": 0.3},
                "optimizer": {"lr": 0.01},
                "schedule": {"epochs": 2, "checkpoint_every": 3},
                "select_by": "p@1",
                **sections,
            }
        )

    return make


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory, fashion_train_folder: Path, fashion_folder: Path) -> Path:
    """A small gallery encoder, trained until it is clearly better than chance, with its space."""
    out = tmp_path_factory.mktemp("space")
    recipe = Recipe.model_validate(
        {
            "data": {"train": str(fashion_train_folder), "validation": str(fashion_folder)},
            "input": {"background": 0},
            "encoder": {"arguments": {"widths": [16, 32, 64]}, "dim": 16},
            "objectives": {"classification": {}, "multi_similarity": {"weight": 0.5}},
            "batches": {"size": 40},
            "optimizer": {"lr": 0.01},
            "schedule": {"epochs": 8, "evaluate_every": 4},
        }
    )
    export_bundle(train_gallery(recipe, out).bundle)
    return out
