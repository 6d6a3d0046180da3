from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hetsearch.bundle import read_card
from hetsearch.errors import ConfigError, DataError, UsageError
from hetsearch.models.weights import arrays_of, load_network
from hetsearch.space import EmbeddingSpace, fingerprint_of
from hetsearch.training.gallery import train_gallery
from hetsearch.training.recipe import Recipe
from hetsearch.training.reference import Reference

MakeRecipe = Callable[..., Recipe]


def test_the_bundle_and_the_space_belong_together(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    trained = train_gallery(recipe_for(schedule={"epochs": 1}), tmp_path)
    space, card = EmbeddingSpace.load(tmp_path), read_card(trained.bundle)
    assert trained.bundle == tmp_path / "gallery-encoder"
    assert space.id == card.space == trained.space
    assert space.fingerprint == fingerprint_of(arrays_of(load_network(trained.bundle, card)))
    assert space.classes == tuple(f"class-{label}" for label in range(10))
    assert space.classifier is not None
    np.testing.assert_allclose(np.linalg.norm(space.classifier, axis=1), 1, atol=1e-5)
    assert card.training["recipe"]["seed"] == 0
    assert card.numbers["validation"]["p@1"] == trained.best["p@1"]


def test_a_free_encoder_says_so(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    trained = train_gallery(recipe_for(schedule={"epochs": 1}, role="free"), tmp_path)
    assert trained.bundle.name == "free-encoder"
    assert read_card(trained.bundle).role == "free"


def test_a_space_without_a_classifier(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    train_gallery(recipe_for(objectives={"multi_similarity": {}}, schedule={"epochs": 1}), tmp_path)
    space = EmbeddingSpace.load(tmp_path)
    assert space.classifier is None
    assert space.classes == ()


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ({"classification": {}, "cosine_regression": {}}, "hetsearch train query"),
        ({"frozen_classifier": {}, "multi_similarity": {}}, "hetsearch train query"),
    ],
)
def test_objectives_that_cannot_define_a_space(
    tmp_path: Path, recipe_for: MakeRecipe, objectives: dict[str, dict[str, float]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_gallery(recipe_for(objectives=objectives), tmp_path)


def test_a_validation_split_that_cannot_decide_is_refused(
    tmp_path: Path, recipe_for: MakeRecipe, fashion_folder: Path, fashion_train_folder: Path
) -> None:
    for number in (1, 2):
        (tmp_path / "single" / f"class-{number}").mkdir(parents=True)
        shutil.copy(fashion_folder / f"class-{number}" / "000.png", tmp_path / "single" / f"class-{number}")
    data = {"train": str(fashion_train_folder), "validation": str(tmp_path / "single")}
    with pytest.raises(DataError, match="each of a class of its own"):
        train_gallery(recipe_for(data=data), tmp_path / "run")


def test_a_validation_split_whose_protocol_leaves_no_answer_is_refused(
    tmp_path: Path, recipe_for: MakeRecipe, fashion_folder: Path, fashion_train_folder: Path
) -> None:
    # Each class has three images, but all of one photograph; or its queries have no item of their class.
    manifest = fashion_folder.parent / "grouped.csv"
    rows = [(f"test/class-{label}/00{number}.png", label, number) for label in range(2) for number in range(3)]
    for header, column in (("group", lambda label, _: label), ("role", lambda label, _: ("query", "gallery")[label])):
        lines = [f"{path},{label},{column(label, number)}" for path, label, number in rows]
        manifest.write_text("\n".join([f"path,label,{header}", *lines]) + "\n", encoding="utf-8")
        data = {"train": str(fashion_train_folder), "validation": str(manifest)}
        with pytest.raises(DataError, match="no query with a right answer"):
            train_gallery(recipe_for(data=data), tmp_path / "run")


def test_a_file_in_the_place_of_the_run_is_refused(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UsageError, match="--out"):
            train_gallery(recipe_for(), out)


def test_images_without_labels_are_refused(tmp_path: Path, recipe_for: MakeRecipe, fashion_folder: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for source in (fashion_folder / "class-0").iterdir():
        (flat / source.name).write_bytes(source.read_bytes())
    with pytest.raises(DataError, match="no labels"):
        train_gallery(recipe_for(data={"train": str(flat), "validation": str(flat)}), tmp_path / "run")


UPGRADE = {"classification": {}, "frozen_classifier": {"weight": 2.0}, "cosine_regression": {"weight": 8.0}}


def test_a_new_gallery_encoder_is_compatible_with_an_older_space(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path
) -> None:
    recipe = recipe_for(
        encoder={"arguments": {"widths": [16, 32, 64]}, "dim": 16},
        objectives=UPGRADE,
        schedule={"epochs": 12, "evaluate_every": 4},
    )
    trained = train_gallery(recipe, tmp_path, compatible_with=space)
    new, old = EmbeddingSpace.load(tmp_path), EmbeddingSpace.load(space)
    assert new.id != old.id
    (record,) = new.compatible_with
    assert record["space"] == old.id
    numbers = record["metrics"]
    for row, prefix in {"M(new,new)": "", "M(new,old)": "backward_", "M(old,old)": "old_"}.items():
        assert numbers[row]["map"] == pytest.approx(trained.best[f"{prefix}map"], abs=1e-6), row
    assert numbers["M(new,old)"]["map"] > 0.4  # chance is 0.1
    found = record["differences"]["map"]
    assert found["difference"] == pytest.approx(numbers["M(new,old)"]["map"] - numbers["M(old,old)"]["map"])
    low, high = found["ci"]
    assert low < found["difference"] < high
    assert record["compatible"]["map"] is (None if low <= 0 <= high else low > 0)


def test_an_upgrade_that_cannot_be_compatible_is_refused(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path
) -> None:
    with pytest.raises(ConfigError, match="nothing in the recipe makes the new space compatible"):
        train_gallery(recipe_for(), tmp_path / "a", compatible_with=space)
    with pytest.raises(ConfigError, match=r"'encoder\.dim' is not the older space's"):
        train_gallery(recipe_for(objectives=UPGRADE, encoder={"dim": 8}), tmp_path / "b", compatible_with=space)
    with pytest.raises(ConfigError, match="--compatible-with"):
        train_gallery(recipe_for(objectives=UPGRADE), tmp_path / "c")
    with pytest.raises(UsageError, match="holds the older space itself"):
        train_gallery(recipe_for(objectives=UPGRADE), space, compatible_with=space)


def test_another_upgrade_in_the_same_folder_is_refused_before_anything_is_embedded(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_gallery(recipe_for(objectives=UPGRADE, schedule={"epochs": 1}), tmp_path, compatible_with=space)
    embedded: list[object] = []
    monkeypatch.setattr(Reference, "targets", lambda *_: embedded.append(1))
    with pytest.raises(ConfigError, match=r"another recipe: observed seed 1, expected seed not given"):
        train_gallery(recipe_for(objectives=UPGRADE, schedule={"epochs": 1}, seed=1), tmp_path, compatible_with=space)
    assert not embedded


def test_an_older_space_without_its_encoder_is_recorded_without_numbers(
    tmp_path: Path, recipe_for: MakeRecipe, space: Path
) -> None:
    shutil.copytree(space / "space", tmp_path / "alone" / "space")
    recipe = recipe_for(objectives={"classification": {}, "frozen_classifier": {}}, schedule={"epochs": 1})
    train_gallery(recipe, tmp_path / "new", compatible_with=tmp_path / "alone")
    (record,) = EmbeddingSpace.load(tmp_path / "new").compatible_with
    assert record["compatible"] is None
    assert "was not there" in record["reason"]
