from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from hetsearch.errors import ConfigError, DamagedArtifact, HetsearchError
from hetsearch.training import loop
from hetsearch.training.gallery import train_gallery
from hetsearch.training.recipe import Recipe

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


def test_two_processes_train_one_network(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    config = tmp_path / "recipe.yaml"
    recipe = recipe_for(batches={"size": 40}, augmentation={"flip": 0, "shift": 0, "erase": 0})
    config.write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    program = tmp_path / "train.py"
    program.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from hetsearch.config import load_config\n"
        "from hetsearch.training.gallery import train_gallery\n"
        "from hetsearch.training.recipe import Recipe\n"
        "print(train_gallery(load_config(Recipe, Path(sys.argv[1])), Path(sys.argv[2])).best)\n"
    )
    out = tmp_path / "run"
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [*launch, str(program), str(config), str(out)],
        capture_output=True, text=True, check=False, env=environment,
    )
    assert done.returncode == 0, done.stderr
    logged = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert logged[-1]["step"] == 20
    assert weights_of(out / "gallery-encoder")
    # Both ranks end with the same network and evaluation: the best weights are shared.
    assert len(set(done.stdout.strip().splitlines())) == 1, done.stdout


def test_training_learns(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    trained = train_gallery(recipe_for(schedule={"epochs": 6}), tmp_path)
    assert trained.best["p@1"] > 0.5  # chance is 0.1
    losses = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1]["validation"]["map"] > losses[0].get("validation", {"map": 0.1})["map"]


def test_bfloat16_trains(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    trained = train_gallery(recipe_for(precision="bf16"), tmp_path)
    assert trained.best["p@1"] > 0.3
    assert all(array.dtype != np.float16 for array in weights_of(trained.bundle).values())


def test_trainings_of_different_precision_follow_each_other(recipe_for: MakeRecipe) -> None:
    # quickstart --from-scratch: the gallery encoder in bfloat16, then the query encoder in float32.
    precisions = ("bf16", "float32", "bf16")
    found = [loop.make_accelerator(recipe_for(precision=precision)).mixed_precision for precision in precisions]
    assert found == ["bf16", "no", "bf16"]


def test_a_training_that_diverges_says_so(tmp_path: Path, recipe_for: MakeRecipe) -> None:
    with pytest.raises(HetsearchError, match=r"diverged.*optimizer\.lr"):
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
