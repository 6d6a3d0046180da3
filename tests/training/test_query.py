from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hetsearch.bundle import read_card
from hetsearch.data.sources import open_source
from hetsearch.errors import ConfigError, SpaceMismatch
from hetsearch.export import export_bundle
from hetsearch.gallery import build_gallery
from hetsearch.runtime import load_encoder
from hetsearch.space import EmbeddingSpace
from hetsearch.training.gallery import train_gallery
from hetsearch.training.query import train_query
from hetsearch.training.recipe import Recipe

MakeRecipe = Callable[..., Recipe]
QUERY = {
    "frozen_classifier": {},
    "classification": {"weight": 0.5},
    "multi_similarity": {"weight": 0.25},
    "cosine_regression": {"weight": 4.0},
}


def test_a_query_encoder_joins_the_space(tmp_path: Path, recipe_for: MakeRecipe, space: Path) -> None:
    recipe = recipe_for(objectives=QUERY, schedule={"epochs": 8, "evaluate_every": 4}, select_by="map")
    trained = train_query(recipe, space, tmp_path)
    card = read_card(trained.bundle)
    assert card.role == "query"
    assert card.space == read_card(space / "gallery-encoder").space
    # Heterogeneous search works: far above chance, which is 0.1.
    assert trained.best["map"] > 0.4
    assert set(trained.best) == {"p@1", "map", "homogeneous_p@1", "homogeneous_map", "cosine", "epoch"}


def test_an_encoder_without_the_compatibility_terms_does_not_join(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path
) -> None:
    recipe = recipe_for(objectives={"classification": {}}, schedule={"epochs": 4, "evaluate_every": 4})
    trained = train_query(recipe, space, tmp_path)
    assert trained.best["homogeneous_map"] > trained.best["map"] + 0.1


def test_the_frozen_classifier_alone_needs_no_gallery_encoder(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = recipe_for(objectives={"frozen_classifier": {}}, schedule={"epochs": 1})
    trained = train_query(recipe, space / "space" / "..", tmp_path / "with")
    assert "homogeneous_map" in trained.best
    alone = tmp_path / "alone"
    (alone / "space").mkdir(parents=True)
    for file in (space / "space").iterdir():
        (alone / "space" / file.name).write_bytes(file.read_bytes())
    assert "are not known" not in capsys.readouterr().err
    assert "homogeneous_map" not in train_query(recipe, alone, tmp_path / "without").best
    assert "are not known: p@1 and map are of M(q,q)" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--gallery-encoder"):
        train_query(recipe_for(objectives=QUERY), alone, tmp_path / "regression")


def test_a_gallery_encoder_of_another_space_is_refused(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path
) -> None:
    other = train_gallery(recipe_for(schedule={"epochs": 1}), tmp_path / "other")
    export_bundle(other.bundle)
    with pytest.raises(SpaceMismatch) as refused:
        train_query(recipe_for(objectives=QUERY), space, tmp_path / "q", gallery_encoder=other.bundle)
    assert other.space in str(refused.value)
    assert read_card(space / "gallery-encoder").space in str(refused.value)


def test_a_run_is_not_resumed_into_another_space(tmp_path: Path, recipe_for: MakeRecipe, space: Path) -> None:
    # The weights of a finished run would be declared to belong to a space that they were never trained for.
    recipe = recipe_for(objectives={"frozen_classifier": {}}, schedule={"epochs": 1})
    trained = train_query(recipe, space, tmp_path / "q")
    train_gallery(recipe_for(schedule={"epochs": 1}), tmp_path / "other")
    (tmp_path / "other" / "gallery-encoder").rename(tmp_path / "moved")
    with pytest.raises(SpaceMismatch, match="the training that is asked for and the one in"):
        train_query(recipe, tmp_path / "other", tmp_path / "q")
    assert read_card(trained.bundle).space == read_card(space / "gallery-encoder").space


def test_a_run_is_not_resumed_towards_other_targets(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, fashion_train_folder: Path
) -> None:
    # The gallery has no vectors of mirror images, so half of the targets would change on the way.
    build_gallery(
        load_encoder(space / "gallery-encoder"), open_source(str(fashion_train_folder)), tmp_path / "g", progress=False
    )
    recipe = recipe_for(objectives={"cosine_regression": {}}, schedule={"epochs": 1})
    train_query(recipe, space, tmp_path / "q")
    with pytest.raises(ConfigError, match="towards other embeddings"):
        train_query(recipe, space, tmp_path / "q", gallery_vectors=tmp_path / "g")


def test_an_objective_without_weight_needs_nothing(tmp_path: Path, recipe_for: MakeRecipe, space: Path) -> None:
    shutil.copytree(space / "space", tmp_path / "alone" / "space")
    objectives = {"frozen_classifier": {}, "cosine_regression": {"weight": 0}}
    trained = train_query(
        recipe_for(objectives=objectives, schedule={"epochs": 1}), tmp_path / "alone", tmp_path / "q"
    )
    assert "homogeneous_map" not in trained.best


def test_another_dimension_is_refused(tmp_path: Path, recipe_for: MakeRecipe, space: Path) -> None:
    with pytest.raises(ConfigError, match=r"encoder\.dim"):
        train_query(recipe_for(objectives=QUERY, encoder={"dim": 8}), space, tmp_path)


def test_an_encoder_is_aligned_after_its_training(tmp_path: Path, recipe_for: MakeRecipe, space: Path) -> None:
    # Without a term that anchors it, a closed-form map does what training did not.
    recipe = recipe_for(objectives={"classification": {}}, schedule={"epochs": 4, "evaluate_every": 4})
    plain = train_query(recipe, space, tmp_path / "plain")
    aligned = train_query(
        recipe.model_copy(update={"align": "procrustes"}), space, tmp_path / "aligned", gallery_encoder=None
    )
    assert aligned.best["map"] == plain.best["map"]  # before the map
    assert aligned.best["aligned_map"] > plain.best["map"] + 0.1
    # A rotation leaves distances within the encoder as they are.
    assert aligned.best["aligned_homogeneous_map"] == pytest.approx(plain.best["homogeneous_map"], abs=1e-3)


def test_aligning_needs_the_gallerys_vectors(tmp_path: Path, recipe_for: MakeRecipe, space: Path) -> None:
    shutil.copytree(space / "space", tmp_path / "alone" / "space")
    recipe = recipe_for(objectives={"frozen_classifier": {}}, align="ridge")
    with pytest.raises(ConfigError, match="'align' needs the gallery encoder"):
        train_query(recipe, tmp_path / "alone", tmp_path / "q")


def test_too_few_images_to_align_are_told_before_the_training(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, fashion_folder: Path, fashion_train_folder: Path
) -> None:
    for image in ("class-1/000.png", "class-1/001.png", "class-2/000.png"):
        (tmp_path / "few" / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(fashion_folder / image, tmp_path / "few" / image)
    data = {"train": str(fashion_train_folder), "validation": str(tmp_path / "few")}
    recipe = recipe_for(data=data, objectives={"frozen_classifier": {}}, align="procrustes")
    with pytest.raises(ConfigError, match=r"'align: procrustes' needs.*observed 3 images.*at least 16"):
        train_query(recipe, space, tmp_path / "q")
    assert not (tmp_path / "q").exists()


def test_a_finished_training_is_aligned_without_training_again(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path
) -> None:
    recipe = recipe_for(objectives={"cosine_regression": {}}, schedule={"epochs": 2, "evaluate_every": 2})
    plain = train_query(recipe, space, tmp_path / "q")
    aligned = train_query(recipe.model_copy(update={"align": "prototypes"}), space, tmp_path / "q")
    assert aligned.seconds == plain.seconds
    assert aligned.best["map"] == plain.best["map"]
    assert aligned.best["aligned_cosine"] > plain.best["cosine"]
    card = read_card(aligned.bundle)
    assert card.prototypes == len(EmbeddingSpace.load(space).classes)
    assert aligned.best["aligned_cosine"] == pytest.approx(card.numbers["validation"]["aligned_cosine"])


def test_prototypes_need_few_classes_with_labels(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(objectives={"cosine_regression": {}}, align="prototypes")
    monkeypatch.setattr("hetsearch.training.joining.MOST", 3)
    with pytest.raises(ConfigError, match=r"keeps a mean of every class.*expected at most 3"):
        train_query(recipe, space, tmp_path / "q")
    assert not (tmp_path / "q").exists()


def test_labels_without_an_answer_leave_the_cosine_alone(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, fashion_folder: Path, fashion_train_folder: Path
) -> None:
    for label in range(3):
        (tmp_path / "single" / f"class-{label}").mkdir(parents=True)
        shutil.copy(fashion_folder / f"class-{label}" / "000.png", tmp_path / "single" / f"class-{label}")
    data = {"train": str(fashion_train_folder), "validation": str(tmp_path / "single")}
    recipe = recipe_for(
        data=data, objectives={"cosine_regression": {}}, schedule={"epochs": 1}, select_by="cosine"
    )
    assert set(train_query(recipe, space, tmp_path / "q").best) == {"cosine", "epoch"}


def test_vectors_of_no_training_image_are_told_before_the_training(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, fashion_folder: Path
) -> None:
    # The objective needs no embeddings of the training images; the class means after the training do.
    build_gallery(
        load_encoder(space / "gallery-encoder"), open_source(str(fashion_folder)), tmp_path / "g", progress=False
    )
    recipe = recipe_for(objectives={"frozen_classifier": {}}, align="prototypes")
    with pytest.raises(ConfigError, match="knows none of the images"):
        train_query(recipe, space, tmp_path / "q", gallery_vectors=tmp_path / "g")
    assert not (tmp_path / "q").exists()
