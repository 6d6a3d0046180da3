from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from hetsearch.bundle import read_card
from hetsearch.errors import ConfigError, DamagedArtifact, Diverged
from hetsearch.models.network import build_network
from hetsearch.objectives import Context, ObjectiveSum
from hetsearch.training import loop
from hetsearch.training.gallery import train_gallery
from hetsearch.training.images import as_training_set, load_splits
from hetsearch.training.recipe import Recipe
from hetsearch.training.sampling import batches_of_epoch
from hetsearch.training.task import Task

MakeRecipe = Callable[..., Recipe]


def weights_of(bundle: Path) -> dict[str, np.ndarray]:
    return dict(load_file(bundle / "model.safetensors"))


def assert_same_weights(first: Path, second: Path) -> None:
    a, b = weights_of(first), weights_of(second)
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


class Killed(Exception):
    pass


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    whole = loop._Run._step

    def step(self: loop._Run, *arguments: object) -> None:
        whole(self, *arguments)  # type: ignore[arg-type]
        if self.progress.step == steps:
            raise Killed

    monkeypatch.setattr(loop._Run, "_step", step)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_run_killed_after_any_step_ends_with_the_same_weights(
    tmp_path: Path, recipe_for: MakeRecipe, optimizer: str
) -> None:
    recipe = recipe_for(optimizer={"name": optimizer, "lr": 0.02, "clip": 1.0})
    whole = train_gallery(recipe, tmp_path / "whole")
    # 20 steps in two epochs; checkpoints at 3, 6, 9, 10 (the epoch's end), 12, 15, 18, 20.
    for steps in (1, 3, 7, 10, 14, 20):
        out = tmp_path / f"killed-{steps}"
        with pytest.MonkeyPatch.context() as patch:
            stop_after(patch, steps)
            with pytest.raises(Killed):
                train_gallery(recipe, out)
        resumed = train_gallery(recipe, out)
        assert_same_weights(whole.bundle, resumed.bundle)
        assert resumed.space == whole.space
        assert resumed.best == whole.best
        logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in logged if "validation" in line] == [10, 20]


def test_a_run_killed_for_real_resumes(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    recipe = recipe_for()
    whole = train_gallery(recipe, tmp_path / "whole")
    config = tmp_path / "recipe.yaml"
    config.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from hetsearch.config import load_config\n"
        "from hetsearch.training import loop\n"
        "from hetsearch.training.gallery import train_gallery\n"
        "from hetsearch.training.recipe import Recipe\n"
        "whole = loop._Run._step\n"
        "def step(self, *arguments):\n"
        "    whole(self, *arguments)\n"
        "    if self.progress.step == 8: os.kill(os.getpid(), signal.SIGKILL)\n"
        "loop._Run._step = step\n"
        "train_gallery(load_config(Recipe, Path(sys.argv[1])), Path(sys.argv[2]))\n"
    )
    out = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", program, config, out], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert json.loads((out / "checkpoint.json").read_text())["step"] == 6
    assert_same_weights(whole.bundle, train_gallery(recipe, out).bundle)


def flat(arrays: Mapping[str, torch.Tensor | None]) -> np.ndarray:
    return np.concatenate([value.detach().numpy().ravel() for value in arrays.values() if value is not None])


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def two_processes(recipe: Recipe, folder: Path) -> list[str]:
    """Train in two processes, into ``folder / "run"``; what each printed: how many there are, and the best metrics."""
    config, program = folder / "recipe.yaml", folder / "train.py"
    config.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    program.write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from accelerate.state import PartialState\n"
        "from hetsearch.config import load_config\n"
        "from hetsearch.training.gallery import train_gallery\n"
        "from hetsearch.training.recipe import Recipe\n"
        "best = train_gallery(load_config(Recipe, Path(sys.argv[1])), Path(sys.argv[2])).best\n"
        "state = PartialState()\n"
        # In one piece: both processes write into one pipe.
        "os.write(1, f'{state.num_processes} {state.backend} {best}\\n'.encode())\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [*launch, str(program), str(config), str(folder / "run")],
        capture_output=True, text=True, check=False, env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_two_processes_train_one_network_by_the_mean_of_their_gradients(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    recipe = recipe_for(
        encoder={"arguments": {"widths": [8, 16]}, "dim": 16},
        objectives={"classification": {}},
        batches={"size": 400},  # the whole training set: an epoch is a step
        augmentation={"flip": 0, "shift": 0, "erase": 0},
        optimizer={"name": "sgd", "lr": 0.1, "momentum": 0, "weight_decay": 0},
        schedule={"epochs": 1, "warmup": 0},
    )
    printed = two_processes(recipe, tmp_path)
    assert len(printed) == 2
    assert printed[0].startswith("2 gloo {")
    assert printed[0] == printed[1]  # both end with the weights that one of them evaluated
    train, _ = load_splits(recipe)
    torch.manual_seed(recipe.seed)
    network = build_network("compact", recipe.encoder.arguments, dim=16, spec=recipe.input)
    task = Task(network, ObjectiveSum(recipe.objectives, Context(10, 16)))
    before = flat(dict(network.named_parameters()))
    assert train.labels is not None
    (batch,) = batches_of_epoch(train.labels, recipe.batches, seed=recipe.seed, epoch=0)
    gradients = []
    for share in np.array_split(batch, 2):  # each with batch statistics of its own
        rows = torch.from_numpy(share)
        images, labels = torch.from_numpy(train.pixels)[rows], torch.from_numpy(train.labels)[rows]
        task.zero_grad()
        task(images, labels, None)["loss"].backward()
        gradients.append(flat({name: value.grad for name, value in network.named_parameters()}))
    found = weights_of(tmp_path / "run" / "gallery-encoder")
    step = flat({name: torch.from_numpy(found[name]) for name, _ in network.named_parameters()}) - before
    assert distance(step, -0.1 * np.mean(gradients, axis=0)) < 1e-3
    assert distance(step, -0.1 * gradients[0]) > 0.02  # as it would be if each had trained on its own


def test_a_mirrored_image_has_the_target_of_its_mirror_image(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    recipe = recipe_for(augmentation={"flip": 0.5, "shift": 0, "erase": 0})
    images = as_training_set(load_splits(recipe)[0], torch.zeros(2, 400, 16))
    assert images.targets is not None
    images.targets[0, :, 0], images.targets[1, :, 1] = 1, 1
    run = object.__new__(loop._Run)
    run.recipe, run.images = recipe, images
    run.accelerator = SimpleNamespace(device="cpu")  # type: ignore[assignment]
    share = torch.arange(60)
    pixels, _, chosen = run._load(share, torch.Generator().manual_seed(0))
    assert chosen is not None
    mirrored = ~(pixels == images.pixels[share]).flatten(1).all(dim=1)
    assert 15 < int(mirrored.sum()) < 45
    torch.testing.assert_close(chosen[:, 1], mirrored.float())
    torch.testing.assert_close(chosen[:, 0], 1 - mirrored.float())


def test_training_learns(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    trained = train_gallery(recipe_for(schedule={"epochs": 6}), tmp_path)
    assert trained.best["p@1"] > 0.5  # chance is 0.1
    losses = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1]["validation"]["map"] > losses[0].get("validation", {"map": 0.1})["map"]


def test_a_log_tells_of_each_epoch(
    tmp_path: Path, recipe_for: MakeRecipe, capfd: pytest.CaptureFixture[str]
) -> None:
    train_gallery(recipe_for(schedule={"epochs": 3, "evaluate_every": 3}), tmp_path / "run")
    told = [line.split(",")[0] for line in capfd.readouterr().err.splitlines() if line.startswith("epoch")]
    assert told == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_bfloat16_trains(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    trained = train_gallery(recipe_for(precision="bf16"), tmp_path)
    assert trained.best["p@1"] > 0.3
    assert all(array.dtype != np.float16 for array in weights_of(trained.bundle).values())


def test_trainings_of_different_precision_follow_each_other(
    recipe_for: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "computes_bfloat16", lambda: True)
    # quickstart --from-scratch: the gallery encoder in bfloat16, then the query encoder in float32.
    precisions = ("bf16", "float32", "bf16")
    found = [loop.make_accelerator(recipe_for(precision=precision)).mixed_precision for precision in precisions]
    assert found == ["bf16", "no", "bf16"]


@pytest.mark.parametrize(
    ("known", "computes"),
    [
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": True}, True),
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, False),
        ({"architecture": "aarch64"}, True),
    ],
)
def test_bfloat16_is_left_where_a_processor_lacks_it(
    tmp_path: Path,
    recipe_for: MakeRecipe,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    known: dict[str, Any],
    computes: bool,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trained = train_gallery(recipe_for(precision="bf16", schedule={"epochs": 1}), tmp_path)
    assert read_card(trained.bundle).training["precision"] == ("bf16" if computes else "float32")
    assert ("training in float32" in capfd.readouterr().err) is not computes


def test_a_training_that_diverges_says_so(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    with pytest.raises(Diverged, match=r"diverged.*optimizer\.lr"):
        train_gallery(recipe_for(optimizer={"name": "sgd", "lr": 1e12}, schedule={"epochs": 5}), tmp_path)


def test_a_folder_with_another_recipe_is_refused(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    train_gallery(recipe_for(schedule={"epochs": 1}), tmp_path)
    with pytest.raises(ConfigError, match="another recipe"):
        train_gallery(recipe_for(schedule={"epochs": 1}, seed=1), tmp_path)


def test_a_folder_with_other_images_is_refused(
    tmp_path: Path, recipe_for: MakeRecipe, fashion_folder: Path, fashion_train_folder: Path
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(fashion_train_folder, folder)
    recipe = recipe_for(data={"train": str(folder), "validation": str(fashion_folder)}, schedule={"epochs": 1})
    train_gallery(recipe, tmp_path / "run")
    (folder / "class-3" / "001.png").unlink()
    with pytest.raises(ConfigError, match="other images"):
        train_gallery(recipe, tmp_path / "run")


def test_a_damaged_checkpoint_is_named(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    for content in (b"half a file", b""):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(DamagedArtifact, match="checkpoint"):
            train_gallery(recipe_for(), tmp_path)
