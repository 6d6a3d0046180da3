from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.data.sources import open_source
from hetsearch.errors import ConfigError, SpaceMismatch, UsageError
from hetsearch.export import export_bundle
from hetsearch.gallery import build_gallery
from hetsearch.runtime import load_encoder
from hetsearch.training.gallery import train_gallery
from hetsearch.training.images import load_splits
from hetsearch.training.query import train_query
from hetsearch.training.recipe import Recipe
from hetsearch.training.reference import Reference, keys_agree

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def vectors(tmp_path: Path, space: Path, fashion_train_folder: Path) -> Path:
    """A gallery of the training images, embedded by the space's gallery encoder."""
    encoder = load_encoder(space / "gallery-encoder")
    build_gallery(encoder, open_source(str(fashion_train_folder)), tmp_path / "gallery", progress=False)
    return tmp_path / "gallery"


def test_vectors_stand_in_for_the_gallery_encoder(
    recipe_for: MakeRecipe, space: Path, vectors: Path, fashion_train_folder: Path
) -> None:
    recipe = recipe_for(objectives={"cosine_regression": {}}, augmentation={"flip": 0.5})
    train, validation = load_splits(recipe)
    by_encoder = Reference.open(space).targets(recipe, train)
    by_vectors = Reference.open(space, vectors=vectors).targets(recipe, train)
    assert by_encoder is not None
    assert by_vectors is not None
    np.testing.assert_allclose(by_vectors[0], by_encoder[0], atol=1e-5)
    assert torch.equal(by_vectors[1], by_vectors[0])  # nobody embedded the mirror images
    assert not Reference.open(space, vectors=vectors).covers(validation)


def test_vectors_of_another_space_or_of_other_images_are_refused(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, vectors: Path, fashion_folder: Path
) -> None:
    other = train_gallery(recipe_for(schedule={"epochs": 1}), tmp_path / "other")
    with pytest.raises(SpaceMismatch, match=other.space):
        Reference.open(tmp_path / "other", vectors=vectors)
    data = {"train": str(fashion_folder), "validation": str(fashion_folder)}
    recipe = recipe_for(objectives={"cosine_regression": {}}, data=data, batches={"size": 40})
    with pytest.raises(ConfigError, match="knows none of the images"):
        train_query(recipe, space, tmp_path / "q", gallery_vectors=vectors)


def test_a_query_encoder_is_no_gallery_encoder(tmp_path: Path, recipe_for: MakeRecipe, space: Path) -> None:
    recipe = recipe_for(objectives={"frozen_classifier": {}}, schedule={"epochs": 1})
    light = train_query(recipe, space, tmp_path / "light").bundle
    export_bundle(light)
    with pytest.raises(ConfigError, match=r"is a query encoder: expected the gallery encoder of sp_"):
        Reference.open(space, encoder=light)


def sources(folder: Path, fashion_folder: Path) -> dict[str, str]:
    """Sources whose keys are alike: folders, and manifests with and without keys of their own."""
    for place in ("here", "there"):
        (folder / place).mkdir()
        shutil.copy(fashion_folder / "class-1" / "000.png", folder / place / "a.png")
        (folder / place / "paths.csv").write_text("path,label,split\na.png,x,train\n", encoding="utf-8")
        (folder / place / "keys.csv").write_text("key,path,label\na.png!,a.png,x\n", encoding="utf-8")
    names = {f"{place} {kind}": str(folder / place / kind) for place in ("here", "there") for kind in ("", "paths.csv")}
    names |= {f"{place} keys.csv": str(folder / place / "keys.csv") for place in ("here", "there")}
    return {**names, "here paths.csv:train": f"{names['here paths.csv']}:train", "gone": str(folder / "gone")}


@pytest.mark.parametrize(
    ("mine", "embedded", "agree"),
    [
        ("here ", "here ", True),
        ("here ", "there ", False),
        ("here ", "here paths.csv", True),
        ("here paths.csv", "here ", True),
        ("here paths.csv:train", "here paths.csv", True),
        ("here paths.csv", "there paths.csv", False),
        ("here paths.csv", "gone", False),
        ("here ", "gone", False),
        ("here keys.csv", "there keys.csv", True),  # a manifest's own keys mean the same everywhere
        ("here keys.csv", "here ", False),
    ],
)
def test_when_a_key_means_the_same_image(
    tmp_path: Path, fashion_folder: Path, mine: str, embedded: str, agree: bool
) -> None:
    names = sources(tmp_path, fashion_folder)
    assert keys_agree(open_source(names[mine]), names[embedded]) is agree


@pytest.mark.parametrize(
    ("embedded", "agree"),
    [("mnist:train", True), ("mnist:test", True), ("fashion-mnist:train", False), ("some/folder", False)],
)
def test_named_sets_number_their_images_alike_and_are_not_confused(embedded: str, agree: bool) -> None:
    images = ImageSet("mnist:train", ("train/00000",), ArrayReader(np.zeros((1, 28, 28), dtype=np.uint8)))
    assert keys_agree(images, embedded) is agree


def test_a_gallery_encoder_and_vectors_are_not_taken_together(space: Path, vectors: Path) -> None:
    with pytest.raises(UsageError, match="two ways to the same"):
        Reference.open(space, space / "gallery-encoder", vectors)


def test_vectors_of_some_images_are_used_and_counted(
    recipe_for: MakeRecipe, space: Path, vectors: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(objectives={"cosine_regression": {}})
    reference = Reference.open(space, vectors=vectors)
    assert reference.embeddings is not None
    some = replace(
        reference.embeddings, vectors=reference.embeddings.vectors[:30], keys=reference.embeddings.keys[:30]
    )
    targets = replace(reference, embeddings=some).targets(recipe, load_splits(recipe)[0])
    assert targets is not None
    assert int(targets[0].any(dim=1).sum()) == 30
    assert "the gallery knows 30 of the 400 images" in capsys.readouterr().err


def test_rows_of_the_classifier_follow_the_training_sets_classes(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, fashion_train_folder: Path
) -> None:
    some = tmp_path / "some"
    for name in ("class-7", "class-2"):
        shutil.copytree(fashion_train_folder / name, some / name)
    shutil.copytree(fashion_train_folder / "class-5", some / "hat")
    recipe = recipe_for(data={"train": str(some), "validation": str(some)})
    reference = Reference.open(space)
    train, _ = load_splits(recipe)
    context = reference.context(recipe, train, None)
    classifier, others = context.classifier, context.other_rows
    assert classifier is not None
    assert reference.space.classifier is not None
    assert train.classes == ("class-2", "class-7", "hat")
    np.testing.assert_array_equal(classifier[:2], reference.space.classifier[[2, 7]])
    assert not classifier[2].any()
    assert others is not None
    np.testing.assert_array_equal(others, np.delete(reference.space.classifier, [2, 7], axis=0))


def test_a_query_encoder_is_trained_without_any_label(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, fashion_train_folder: Path, fashion_folder: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for source in fashion_train_folder.rglob("*.png"):
        shutil.copy(source, flat / f"{source.parent.name}-{source.name}")
    recipe = recipe_for(
        data={"train": str(flat), "validation": str(flat)},
        objectives={"cosine_regression": {}, "soft_labels": {}},
        batches={"size": 40},
        schedule={"epochs": 20, "evaluate_every": 10},
        select_by="cosine",
    )
    trained = train_query(recipe, space, tmp_path / "q")
    assert set(trained.best) == {"cosine", "epoch"}
    # … and it searches: judged by labels that the training never saw.
    export_bundle(trained.bundle)
    light, heavy = load_encoder(trained.bundle), load_encoder(space / "gallery-encoder")
    images = open_source(str(fashion_folder))
    paths = [images.read(row) for row in range(len(images))]
    query, gallery = light.encode(paths).vectors, heavy.encode(paths).vectors
    scores = query @ gallery.T
    np.fill_diagonal(scores, -1)
    labels = np.array(images.labels)
    assert (labels[scores.argmax(axis=1)] == labels).mean() > 0.4  # chance is 0.1
