from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetsearch.errors import ConfigError
from hetsearch.space import Embeddings, EmbeddingSpace
from hetsearch.training.images import load_splits
from hetsearch.training.needs import check_needs
from hetsearch.training.recipe import Recipe
from hetsearch.training.reference import Reference
from hetsearch.training.sampling import batches_of_epoch

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory, fashion_train_folder: Path) -> Path:
    """Forty images without labels."""
    folder = tmp_path_factory.mktemp("flat")
    for source in sorted(fashion_train_folder.rglob("*.png"))[:40]:
        shutil.copy(source, folder / f"{source.parent.name}-{source.name}")
    return folder


def check(recipe: Recipe, reference: Reference | None = None) -> None:
    check_needs(recipe, load_splits(recipe)[0], reference)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"objectives": {"frozen_classifier": {}}}, "'frozen_classifier' needs a space with a classifier"),
        ({"objectives": {"cosine_regression": {}}}, "'cosine_regression' needs the gallery encoder's embeddings"),
        ({"objectives": {"codebook": {}}}, "'codebook' needs the gallery encoder's embeddings"),
        ({"data": {"regress": 5}}, "'data.regress' has no use"),
    ],
)
def test_what_only_a_space_can_give(recipe_for: MakeRecipe, sections: dict[str, Any], message: str) -> None:
    recipe = recipe_for()
    sections = {"data": {**recipe.data.model_dump(), **sections.pop("data", {})}, **sections}
    with pytest.raises(ConfigError, match=message):
        check(recipe_for(**sections))


def test_an_objective_that_needs_labels_says_so(recipe_for: MakeRecipe, flat: Path, fashion_folder: Path) -> None:
    data = {"train": str(flat), "validation": str(fashion_folder)}
    for objectives in ({"classification": {}}, {"multi_similarity": {}}):
        with pytest.raises(ConfigError, match="needs labels of the training images"):
            check(recipe_for(data=data, objectives=objectives))


@pytest.mark.parametrize("name", ["classification", "multi_similarity"])
def test_one_class_is_nothing_to_learn_from(
    recipe_for: MakeRecipe, tmp_path: Path, fashion_train_folder: Path, name: str
) -> None:
    shutil.copytree(fashion_train_folder / "class-1", tmp_path / "class-1")
    data = {"train": str(tmp_path), "validation": str(fashion_train_folder)}
    with pytest.raises(ConfigError, match=rf"'{name}' needs images of two classes: observed '.*' has class-1 alone"):
        check(recipe_for(data=data, objectives={name: {}}))


def test_balanced_batches_need_labels(recipe_for: MakeRecipe, flat: Path, space: Path, fashion_folder: Path) -> None:
    recipe = recipe_for(data={"train": str(flat), "validation": str(fashion_folder)}, objectives={"soft_labels": {}})
    with pytest.raises(ConfigError, match="samples_per_class' needs labels"):
        check(recipe, Reference.open(space))


def test_a_limit_on_embedding_has_no_use_with_vectors(
    recipe_for: MakeRecipe, space: Path, fashion_train_folder: Path
) -> None:
    given = Reference.open(space)
    vectors = Embeddings(np.ones((1, 1), dtype=np.float32), given.space.id, ("a",))
    data = {"train": str(fashion_train_folder), "validation": str(fashion_train_folder), "regress": 5}
    recipe = recipe_for(data=data, objectives={"cosine_regression": {}})
    check(recipe, given)
    with pytest.raises(ConfigError, match="a gallery has done so already"):
        check(recipe, Reference(given.space, embeddings=vectors))


def test_batches_without_positives_are_refused(recipe_for: MakeRecipe) -> None:
    # Two images a batch, shuffled: most batches hold two classes.
    recipe = recipe_for(batches={"size": 2})
    with pytest.raises(ConfigError, match=r"two images of one class in every batch.*different classes.*samples_per"):
        check(recipe)
    check(recipe_for(batches={"size": 20, "samples_per_class": 2}))


def test_batches_of_every_epoch_are_looked_at(recipe_for: MakeRecipe) -> None:
    one = recipe_for(batches={"size": 9}, schedule={"epochs": 1})
    labels = load_splits(one)[0].labels
    assert labels is not None

    def lacks(epoch: int) -> bool:
        batches = batches_of_epoch(labels, one.batches, seed=one.seed, epoch=epoch)
        return any(len(set(labels[batch])) == 9 for batch in batches)

    first = next(epoch for epoch in range(40) if lacks(epoch))
    assert first > 0  # else this test would show nothing
    check(recipe_for(batches={"size": 9}, schedule={"epochs": first}))
    with pytest.raises(ConfigError, match=rf"in epoch {first + 1} has 9 different classes"):
        check(recipe_for(batches={"size": 9}, schedule={"epochs": first + 1}))


def test_copies_of_one_image_are_no_positives(
    tmp_path: Path, recipe_for: MakeRecipe, fashion_folder: Path, fashion_train_folder: Path
) -> None:
    for label in range(10):
        (tmp_path / "single" / f"class-{label}").mkdir(parents=True)
        shutil.copy(fashion_train_folder / f"class-{label}" / "000.png", tmp_path / "single" / f"class-{label}")
    data = {"train": str(tmp_path / "single"), "validation": str(fashion_folder)}
    recipe = recipe_for(data=data, batches={"size": 10, "samples_per_class": 2})
    with pytest.raises(ConfigError, match=r"batch 1 of 1 has 5 different classes.*classes of several images"):
        check(recipe)


def test_a_class_that_the_classifier_lacks(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, fashion_train_folder: Path
) -> None:
    more = tmp_path / "more"
    shutil.copytree(fashion_train_folder, more)
    (more / "class-3").rename(more / "hat")
    data = {"train": str(more), "validation": str(fashion_train_folder)}
    reference = Reference.open(space)
    with pytest.raises(ConfigError, match=r"lacks classes.*observed hat.*'pseudo'"):
        check(recipe_for(data=data, objectives={"frozen_classifier": {}}), reference)
    for missing in ("pseudo", "drop"):
        check(recipe_for(data=data, objectives={"frozen_classifier": {"missing": missing}}), reference)
    for path in sorted(more.iterdir()):
        path.rename(more / f"no-{path.name}")
    for objectives in ({"frozen_classifier": {"missing": "drop"}}, {"class_boundary": {}}):
        with pytest.raises(ConfigError, match=rf"lacks every class.*'{next(iter(objectives))}'.*observed no-class-0"):
            check(recipe_for(data=data, objectives=objectives), reference)


def test_a_codebook_that_cannot_split_the_dimension(recipe_for: MakeRecipe, space: Path) -> None:
    with pytest.raises(ConfigError, match="cannot split 16 dimensions: observed 5, expected one of: 1, 2, 4, 8"):
        check(recipe_for(objectives={"codebook": {"subspaces": 5}}), Reference.open(space))


def test_a_space_without_a_classifier_is_named(recipe_for: MakeRecipe, space: Path) -> None:
    bare = replace(EmbeddingSpace.load(space), classifier=None, classes=())
    with pytest.raises(ConfigError, match=rf"'soft_labels' needs a space with a classifier.*{bare.id} has none"):
        check(recipe_for(objectives={"soft_labels": {}}), Reference(bare))
