from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from hetsearch.errors import ConfigError, DamagedArtifact, SpaceMismatch
from hetsearch.training.checkpoint import (
    Progress,
    copy_of,
    load_checkpoint,
    require_same_training,
    save_checkpoint,
)

CPU = torch.device("cpu")
RECIPE = '{"seed": 3, "batches": {"size": 4}}'


def save(out: Path) -> None:
    weights = {"w": torch.arange(3.0)}
    progress = Progress(7, 1.5, {"map": 0.5, "epoch": 0})
    save_checkpoint(out, progress, RECIPE, "images", task=weights, best=None, optimizer={"lr": 0.1})


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, RECIPE, "images", CPU) is None
    save(tmp_path)
    found = load_checkpoint(tmp_path, RECIPE, "images", CPU)
    assert found is not None
    assert Progress(**found["progress"]) == Progress(7, 1.5, {"map": 0.5, "epoch": 0})
    assert torch.equal(found["task"]["w"], torch.arange(3.0))
    assert found["best"] is None
    assert json.loads((tmp_path / "checkpoint.json").read_text(encoding="utf-8"))["step"] == 7


@pytest.mark.parametrize(
    ("recipe", "images", "message"),
    [
        ('{"seed": 3, "batches": {"size": 8}}', "images", r"another recipe: observed batches\.size 8, expected .* 4"),
        ('{"batches": {"size": 4}}', "images", r"another recipe: observed seed not given, expected seed 3\."),
        (RECIPE, "others", "other images"),
    ],
)
def test_another_training_is_not_resumed(tmp_path: Path, recipe: str, images: str, message: str) -> None:
    save(tmp_path)
    with pytest.raises(ConfigError, match=message):
        load_checkpoint(tmp_path, recipe, images, CPU)


def test_another_recipe_or_space_is_told_without_images_and_targets(tmp_path: Path) -> None:
    identity = '{"seed": 3, "space": "sp_0000000000000001"}'
    require_same_training(tmp_path, identity)  # nothing there yet
    save_checkpoint(tmp_path, Progress(), identity, "images", task={}, best=None, optimizer={})
    require_same_training(tmp_path, identity)
    with pytest.raises(ConfigError, match=r"another recipe: observed seed 4, expected seed 3\. Choose another --out"):
        require_same_training(tmp_path, identity.replace("3", "4"))
    with pytest.raises(SpaceMismatch, match="observed sp_0000000000000002, expected sp_0000000000000001"):
        require_same_training(tmp_path, '{"seed": 4, "space": "sp_0000000000000002"}')


def test_a_training_goes_on_towards_the_targets_that_it_began_with(tmp_path: Path) -> None:
    targets = torch.nn.functional.normalize(torch.randn(2, 600, 8, generator=torch.Generator().manual_seed(0)), dim=2)
    save_checkpoint(tmp_path, Progress(), RECIPE, "images", task={}, best=None, optimizer={}, targets=targets)
    for same in (targets, targets + 1e-4, targets.half().float()):  # another machine's rounding is no other encoder
        assert load_checkpoint(tmp_path, RECIPE, "images", CPU, same) is not None
    not_mirrored = torch.stack([targets[0], targets[0]])
    for other in (not_mirrored, targets.flip(1), targets[:, :500], targets[:, :, :4]):
        with pytest.raises(ConfigError, match="other embeddings of the same images"):
            load_checkpoint(tmp_path, RECIPE, "images", CPU, other)


def test_an_older_checkpoint_that_knows_no_targets_is_resumed(tmp_path: Path) -> None:
    save(tmp_path)
    assert load_checkpoint(tmp_path, RECIPE, "images", CPU, torch.ones(2, 5, 3)) is not None


def test_a_damaged_checkpoint_says_so(tmp_path: Path) -> None:
    save(tmp_path)
    whole = (tmp_path / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedArtifact, match="Remove it to start over"):
        load_checkpoint(tmp_path, RECIPE, "images", CPU)


def test_a_checkpoint_is_data_and_runs_nothing(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"recipe": Trap()}, tmp_path / "checkpoint.pt")
    with pytest.raises(DamagedArtifact):
        load_checkpoint(tmp_path, RECIPE, "images", CPU)
    assert not (tmp_path / "ran").exists()


def test_a_copy_does_not_change_with_the_weights() -> None:
    weights = {"w": torch.zeros(2)}
    kept = copy_of(weights)
    weights["w"] += 1
    assert kept["w"].tolist() == [0, 0]
