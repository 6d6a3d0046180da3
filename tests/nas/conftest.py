"""A small search space over images of 12 pixels, and a space of embeddings that nobody had to train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetsearch.config import validate
from hetsearch.data.pixels import load_pixels
from hetsearch.data.sources import open_source
from hetsearch.nas.config import NasConfig
from hetsearch.nas.paths import Paths
from hetsearch.preprocess import InputSpec
from hetsearch.space import EmbeddingSpace
from tests.support import linear_bundle, linear_vectors, linear_weights

DIM = 16
SPEC = InputSpec(size=12, background=0, mean=(0.286,), std=(0.353,))
SEARCH_SPACE: dict[str, Any] = {
    "stages": [{"width": 8, "stride": 2, "choices": ["conv3"]}, {"width": 8}, {"width": 12, "stride": 2, "repeats": 2}],
    "choices": ["skip", "conv3", "shuffle3"],
    "widths": [50, 100],
}


@pytest.fixture(scope="session")
def space(tmp_path_factory: pytest.TempPathFactory, fashion_train_folder: Path) -> Path:
    """A gallery encoder that projects the pixels by chance, and a classifier made of the classes' mean vectors."""
    home = tmp_path_factory.mktemp("space")
    images = open_source(str(fashion_train_folder))
    vectors = linear_vectors(load_pixels(images, SPEC), DIM, SPEC, 0)
    labels = np.array(images.labels)
    means = np.stack([vectors[labels == name].mean(axis=0) for name in images.classes])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    matrix, bias = linear_weights(DIM, SPEC, 0)
    minted = EmbeddingSpace.mint(
        {"matrix": matrix, "bias": bias},
        dim=DIM,
        input_spec=SPEC,
        classifier=means.astype(np.float32),
        classes=images.classes,
        scale=16.0,
    )
    minted.save(home / "space")
    linear_bundle(home / "gallery-encoder", space=minted.id, dim=DIM, spec=SPEC, role="gallery")
    return home


@pytest.fixture
def document(fashion_train_folder: Path, fashion_folder: Path) -> dict[str, Any]:
    """The configuration of a search that takes a second."""
    return {
        "recipe": {
            "data": {"train": str(fashion_train_folder), "validation": str(fashion_folder)},
            "input": SPEC.model_dump(),
            "encoder": {"dim": DIM},
            "objectives": {"frozen_classifier": {}, "cosine_regression": {"weight": 4.0}},
            "batches": {"size": 40},
            "augmentation": {"shift": 1},
            "optimizer": {"lr": 0.01},
            "schedule": {"epochs": 2, "checkpoint_every": 4},
        },
        "search_space": SEARCH_SPACE,
        "supernet": {"changes": {"schedule.epochs": 1}, "probes": 1, "sampling": {"bins": 2}},
        "reward": {"limit": 5, "batches": 2, "batch_size": 40},
        "budget": {"macs": 40_000},
        "search": {
            "evolution": {"population": 4, "generations": 2, "parents": 2, "mutants": 1, "crossed": 1},
            "processes": 1,
        },
    }


@pytest.fixture
def config_of(document: dict[str, Any]) -> Callable[..., NasConfig]:
    """The same as a configuration; keyword arguments replace whole sections."""

    def make(**sections: Any) -> NasConfig:
        return validate(NasConfig, {**document, **sections}, where="the test")

    return make


@pytest.fixture
def paths(config_of: Callable[..., NasConfig]) -> Paths:
    """The architectures of the small search space: 24 times as many as its last block has genes."""
    return Paths(config_of().search_space, SPEC, DIM)
