from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from hetsearch.bundle import read_card
from hetsearch.cli import main
from hetsearch.cli.nas import run as nas_run
from hetsearch.errors import ConfigError, DataError, SpaceMismatch, UsageError
from hetsearch.models.cost import count_macs
from hetsearch.models.weights import load_network
from hetsearch.nas import job as job_module
from hetsearch.nas import rewards
from hetsearch.nas.config import NasConfig, RewardConfig
from hetsearch.nas.costs import MACS
from hetsearch.nas.job import Job
from hetsearch.nas.rewards import Scorer
from hetsearch.nas.sampling import PathSampler
from hetsearch.nas.search import draw_all, evolve
from hetsearch.nas.supernet import Supernet
from hetsearch.query.describe import describe
from hetsearch.space import EmbeddingSpace
from hetsearch.training import loop
from hetsearch.training.reference import Reference

MakeConfig = Callable[..., NasConfig]


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nas")


@pytest.fixture
def supernet(home: Path, config_of: MakeConfig, space: Path) -> Path:
    """A trained supernet; trained once."""
    return Job(config_of(), space, home).train()


def test_the_whole_way(
    tmp_path: Path, document: dict[str, Any], space: Path, fashion_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document["test"] = str(shutil.copytree(fashion_folder, tmp_path / "test"))
    document["search"]["pareto"] = {"population": 4, "generations": 2}
    document["search"]["final"] = {"count": 2, "differ": 1, "changes": {"schedule.epochs": 1}}
    document["search"]["learning_rate"] = {"changes": {"schedule.epochs": 1}}
    document["budget"] |= {"bytes": 1e6, "latency_ms": 100}
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(document))
    words = ["nas", "run", str(tmp_path / "search.yaml"), "--space", str(space), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 0, capsys.readouterr().err
    found = json.loads((tmp_path / "run" / "nas.json").read_text())
    card = read_card(tmp_path / "run" / "winner" / "query-encoder")
    assert card.role == "query"
    winner, second = found["final"]
    assert card.arguments["arch"] == found["winner"] == winner["arch"]
    assert winner["alone"] >= second["alone"]
    assert [(row["arch"], row["alone"]) for row in found["top"][:2]] == [
        (one["arch"], one["alone"]) for one in (winner, second)
    ]
    assert all(row["alone"] is None for row in found["top"][2:])
    assert card.macs == found["top"][0]["macs"] <= 40_000
    rates = {one["rate"]: one["reward"] for one in found["rates"]}
    assert {0.01, 0.02} < rates.keys()  # the recipe's, twice that, and more
    recipe = yaml.safe_load((tmp_path / "run" / "winner" / "recipe.yaml").read_text())
    assert rates[recipe["optimizer"]["lr"]] == max(rates.values())
    assert rates[0.01] == winner["alone"]  # as it raced
    network = load_network(tmp_path / "run" / "winner" / "query-encoder", card)
    assert count_macs(network) == card.macs
    assert (tmp_path / "run" / "report" / "report.json").is_file()
    assert found["methods"].keys() == {"evolution", "random", "nsga2"}
    assert found["methods"]["evolution"]["measured"] == found["methods"]["random"]["measured"] == 8
    front = json.loads((tmp_path / "run" / "front.json").read_text())["front"]
    assert [row["macs"] for row in front] == sorted(row["macs"] for row in front)
    assert describe(tmp_path / "run").kind == "architecture search"
    assert describe(tmp_path / "run").whole
    assert (of_supernet := describe(tmp_path / "run" / "supernet")).kind == "supernet"
    assert of_supernet.whole
    assert "remembered" in found["reward"]["means"]
    out, told = capsys.readouterr()
    assert f"winner: {found['winner']}, at a learning rate of {recipe['optimizer']['lr']:g}\n" in out
    for name, method in (("random search", "random"), ("NSGA-II", "nsga2")):
        best = found["methods"][method]
        line = rf"^{name} +{best['reward']:.4f} +{best['measured']} +{best['arch']}$"
        assert re.search(line, out, flags=re.MULTILINE)
    assert str(tmp_path / "run" / "winner" / "query-encoder") in out  # where it is, and what it is worth
    size = (tmp_path / "run" / "winner" / "query-encoder" / "model.onnx").stat().st_size
    assert f"budget of bytes 1,000,000: the weights take {4 * card.params:,}, model.onnx {size:,}\n" in told
    timed = re.search(r"budget of latency_ms 100\.0000: the table says ([\d.]+), the encoder takes ([\d.]+)\n", told)
    assert timed is not None
    assert 0 < float(timed[1]) <= 100
    assert float(timed[2]) > 0
    assert f"learning rate 0.01: R3 {rates[0.01]:.4f}\n" in told
    best = found["methods"]["evolution"]["history"][-1]
    assert f"evolution: 8 of 8, best R3 {best:.4f}" in told
    assert "NSGA-II: 8 of 8" in told
    assert f"wrote {tmp_path / 'run' / 'front.svg'}\n" in told
    assert "R3 with the supernet's weights</text>" in (tmp_path / "run" / "front.svg").read_text()


def test_a_run_that_is_killed_again_and_again_finds_and_trains_the_same_winner(
    tmp_path: Path, document: dict[str, Any], space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document["search"]["final"] = {"count": 2, "differ": 1, "changes": {"schedule.epochs": 1}}
    document["search"]["learning_rate"] = {"changes": {"schedule.epochs": 1}}
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(document))

    def run(out: Path) -> None:
        assert nas_run(tmp_path / "search.yaml", space=space, out=out) == 0

    run(tmp_path / "whole")
    left, kills = 0, 0

    def dying(what: Callable[..., None]) -> Callable[..., None]:
        def done(*arguments: Any, **more: Any) -> None:
            nonlocal left
            what(*arguments, **more)
            left -= 1
            if not left:
                raise Killed

        return done

    # Each start dies after its fifth checkpoint or measured architecture.
    monkeypatch.setattr(loop, "save_checkpoint", dying(loop.save_checkpoint))
    monkeypatch.setattr(Scorer, "_remember", dying(Scorer._remember))
    for _ in range(20):
        left = 5
        try:
            run(tmp_path / "killed")
        except Killed:
            kills += 1
        else:
            break
    assert kills >= 3
    reports = [json.loads((tmp_path / name / "nas.json").read_text()) for name in ("whole", "killed")]
    for report in reports:
        report.pop("seconds")
        for training in [*report["final"], *report["rates"]]:
            training.pop("seconds")
    assert reports[0] == reports[1]
    weights = [tmp_path / name / "winner" / "query-encoder" / "model.safetensors" for name in ("whole", "killed")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_search_tells_the_command_that_trains_its_winner(
    tmp_path: Path, document: dict[str, Any], space: Path, supernet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document["search"]["learning_rate"] = {"changes": {"schedule.epochs": 1}}
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(document))
    shutil.copytree(space / "gallery-encoder", tmp_path / "gallery encoder")
    search = ["nas", "search", str(tmp_path / "search.yaml"), "--space", str(space / "space"), "--supernet"]
    search += [str(supernet), "--gallery-encoder", str(tmp_path / "gallery encoder"), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as left:
        main(search)
    out, told = capsys.readouterr()
    assert left.value.code == 0, told
    (command,) = re.findall(r"^train the winner with: hetsearch (.*)$", told, flags=re.MULTILINE)
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command))
    assert left.value.code == 0, capsys.readouterr().err
    card = read_card(tmp_path / "run" / "winner" / "query-encoder")
    recipe = yaml.safe_load((tmp_path / "run" / "winner" / "recipe.yaml").read_text())
    assert f"winner: {card.arguments['arch']}, at a learning rate of {recipe['optimizer']['lr']:g}\n" in out


def test_a_killed_supernet_resumes_to_the_same_weights(
    tmp_path: Path, config_of: MakeConfig, space: Path, supernet: Path
) -> None:
    whole = loop._Run._step

    def step(self: loop._Run, *arguments: Any) -> None:
        whole(self, *arguments)
        if self.progress.step == 6:  # the last checkpoint is at 4
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Run, "_step", step)
        with pytest.raises(Killed):
            Job(config_of(), space, tmp_path).train()
    resumed = Job(config_of(), space, tmp_path).train()
    first, second = (load_file(folder / "model.safetensors") for folder in (supernet, resumed))
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array, err_msg=name)


def test_each_step_trains_the_path_that_was_drawn(
    tmp_path: Path, config_of: MakeConfig, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[str] = []
    whole = Supernet.choose
    monkeypatch.setattr(Supernet, "choose", lambda net, name: chosen.append(name) or whole(net, name))
    config = config_of()
    job = Job(config, space, tmp_path)
    job.train()
    sampler = PathSampler(job.paths, config.supernet.sampling, config.budget, config.recipe.seed)
    steps = 10  # 400 images by 40
    assert chosen[:steps] == [sampler.path(step, steps) for step in range(steps)]
    assert len(set(chosen[:steps])) > 3


def test_a_supernet_can_be_trained_without_regard_to_the_space(
    tmp_path: Path, config_of: MakeConfig, document: dict[str, Any], space: Path, supernet: Path
) -> None:
    changes = {"schedule.epochs": 1, "objectives": {"classification": {}, "multi_similarity": {}}}
    config = config_of(supernet={**document["supernet"], "changes": changes})
    alone = Job(config, space, tmp_path).train()
    first, second = (load_file(folder / "model.safetensors") for folder in (supernet, alone))
    assert any((second[name] != array).any() for name, array in first.items())
    assert Job(config, space, tmp_path).search(alone).winner


def test_chance_is_another_search_than_evolution(
    tmp_path: Path, config_of: MakeConfig, space: Path, supernet: Path
) -> None:
    config = config_of()
    job = Job(config, space, tmp_path)
    found = json.loads(job.search(supernet).report.read_text())
    with closing(Scorer(supernet, job.judge, config.reward, tmp_path, 1)) as scorer:
        evolution = config.search.evolution
        for name, method in (("evolution", evolve), ("random", draw_all)):
            again = method(job.paths, config.budget, scorer.rewards, evolution, seed=config.search.seed)
            assert found["methods"][name]["arch"] == job.paths.spell(again.best(job.paths, 1)[0])
            assert found["methods"][name]["history"] == again.history
    best = max(found["methods"].values(), key=lambda one: one["reward"])
    assert found["winner"] == best["arch"]  # whoever found it


def test_two_searches_are_not_mixed_in_one_folder(
    tmp_path: Path, config_of: MakeConfig, document: dict[str, Any], space: Path, supernet: Path
) -> None:
    report = Job(config_of(), space, tmp_path).search(supernet).report
    before = report.read_bytes()
    other = config_of(reward={**document["reward"], "kind": "R1"})
    told = r'holds a search with other settings: observed reward\.kind "R1", expected reward\.kind "R3".*Give another'
    with pytest.raises(ConfigError, match=told):
        Job(other, space, tmp_path).search(supernet)
    assert report.read_bytes() == before
    several = config_of(search={**document["search"], "processes": 2})  # how fast is no other search
    assert Job(several, space, tmp_path).search(supernet).report.read_bytes() == before
    assert "learning_rate" not in json.loads(before)["settings"]["search"]  # searches from before the key go on
    assert json.loads(before)["seconds"]["measuring"] > 0  # of all that was measured, whenever that was


def test_a_folder_of_another_search_is_refused_before_any_training(
    tmp_path: Path, document: dict[str, Any], space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(document))
    own = EmbeddingSpace.load(space / "space").id
    for verb in ("run", "train"):
        for settings, code, told in (
            ({"space": "sp_other"}, 4, f"observed {own}, expected sp_other"),
            ({"space": own, "budget": {"macs": 30_000.0}}, 2, "expected recipe not given"),
        ):
            (tmp_path / "nas.json").write_text(json.dumps({"schema": 1, "settings": settings}))
            with pytest.raises(SystemExit) as left:
                main(["nas", verb, str(tmp_path / "search.yaml"), "--space", str(space), "--out", str(tmp_path)])
            assert left.value.code == code
            assert told in capsys.readouterr().err
    assert not (tmp_path / "supernet").exists()


def test_a_search_is_one_process(
    tmp_path: Path, config_of: MakeConfig, space: Path, supernet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(config_of(), space, tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="observed 2 processes of accelerate"):
        job.search(supernet)


def test_a_supernet_may_be_trained_by_several(
    tmp_path: Path,
    document: dict[str, Any],
    space: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(document))
    monkeypatch.setattr(Job, "train", lambda job: job.supernet)
    monkeypatch.setattr(job_module.os, "environ", {**os.environ, "WORLD_SIZE": "2"})
    folders = [str(tmp_path / "search.yaml"), "--space", str(space), "--out", str(tmp_path / "run")]
    for verb, code in (("train", 0), ("run", 2)):
        with pytest.raises(SystemExit) as left:
            main(["nas", verb, *folders])
        assert left.value.code == code, verb
    assert "observed 2 processes of accelerate" in capsys.readouterr().err


def test_a_supernet_can_be_trained_by_gradient_descent_with_momentum(
    tmp_path: Path, config_of: MakeConfig, document: dict[str, Any], space: Path
) -> None:
    descent = {"name": "sgd", "lr": 0.05, "momentum": 0.9}  # as in configs/nas/imagenet.yaml
    job = Job(config_of(recipe={**document["recipe"], "optimizer": descent}), space, tmp_path)
    assert json.loads((job.train() / "supernet.json").read_text())["steps"] == 10


def test_a_stopped_search_goes_on_and_finds_the_same_winner(
    tmp_path: Path, config_of: MakeConfig, space: Path, supernet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of()
    winner = Job(config, space, tmp_path / "whole").search(supernet)
    measured: list[str] = []
    measure = rewards.Judge.measure

    def counted(self: rewards.Judge, network: Any, architecture: str) -> dict[str, float]:
        if len(measured) == 5:
            raise Killed
        measured.append(architecture)
        return measure(self, network, architecture)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rewards.Judge, "measure", counted)
        with pytest.raises(Killed):
            Job(config, space, tmp_path / "stopped").search(supernet)
    (scores,) = (tmp_path / "stopped").glob("scores-*.jsonl")
    assert [json.loads(line)["arch"] for line in scores.read_text().splitlines()] == measured
    with scores.open("a") as file:
        file.write('{"arch": "c3-')  # killed while it wrote
    before = list(measured)
    measured.clear()
    monkeypatch.setattr(rewards.Judge, "measure", lambda *a: measured.append(a[2]) or measure(*a))
    again = Job(config, space, tmp_path / "stopped").search(supernet)
    assert not set(before) & set(measured)
    assert again.winner == winner.winner
    assert again.rows == winner.rows
    assert len(again.rows) == job_module.TOP
    assert all(row["macs"] <= 40_000 for row in again.rows)


def test_processes_measure_what_one_does(
    tmp_path: Path, config_of: MakeConfig, space: Path, supernet: Path
) -> None:
    judge = Job(config_of(), space, tmp_path).judge
    names = ["c3-s3-s3w50-c3"]  # one, since a process that starts takes seconds; a pool starts no more than it needs
    reward = RewardConfig(kind="R2")
    alone = Scorer(supernet, judge, reward, tmp_path / "one", 1).rewards(names)
    several = Scorer(supernet, judge, reward, tmp_path / "two", 2)
    try:
        assert several.rewards([*names, names[0]]) == [*alone, alone[0]]
    finally:
        several.close()


def test_an_impossible_budget_names_the_smallest(tmp_path: Path, config_of: MakeConfig, space: Path) -> None:
    job = Job(config_of(), space, tmp_path)
    least = job.paths.costs.smallest()[MACS]
    with pytest.raises(UsageError, match=f"budget of macs: observed 100 MACs, expected at least {least:,.0f} MACs"):
        Job(config_of(budget={"macs": 100}), space, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_supernet_of_another_search_space_is_refused(
    tmp_path: Path, config_of: MakeConfig, document: dict[str, Any], space: Path, supernet: Path
) -> None:
    other = config_of(search_space={**document["search_space"], "widths": [100]})
    with pytest.raises(ConfigError, match=r"search space: observed widths: \[50, 100\], expected widths: \[100\]"):
        Job(other, space, tmp_path).search(supernet)
    with pytest.raises(UsageError, match="is not a trained supernet"):
        Job(config_of(), space, tmp_path).search(tmp_path)


def test_a_supernet_knows_nothing_above_its_budget(
    tmp_path: Path, config_of: MakeConfig, space: Path, supernet: Path
) -> None:
    for budget in ({"macs": 50_000}, {"params": 1e6}):
        with pytest.raises(ConfigError, match=r"within a smaller budget.*macs\":40000"):
            Job(config_of(budget=budget), space, tmp_path).search(supernet)
    assert Job(config_of(budget={"macs": 35_000, "params": 1e6}), space, tmp_path).search(supernet).winner


def test_a_supernet_of_another_space_is_refused(
    tmp_path: Path, config_of: MakeConfig, space: Path, supernet: Path
) -> None:
    shutil.copytree(supernet, tmp_path / "supernet")
    card = json.loads((supernet / "supernet.json").read_text())
    (tmp_path / "supernet" / "supernet.json").write_text(json.dumps({**card, "space": "sp_ffeeddccbbaa9988"}))
    with pytest.raises(SpaceMismatch, match="sp_ffeeddccbbaa9988"):
        Job(config_of(), space, tmp_path).search(tmp_path / "supernet")


def test_a_split_that_tells_nothing_is_refused(
    tmp_path: Path, config_of: MakeConfig, document: dict[str, Any], space: Path, fashion_folder: Path
) -> None:
    (tmp_path / "empty").mkdir()
    data = {**document["recipe"]["data"], "validation": str(tmp_path / "empty")}
    with pytest.raises(DataError, match="empty"):
        Job(config_of(recipe={**document["recipe"], "data": data}), space, tmp_path / "out")
    with pytest.raises(DataError, match="each of a class of its own"):
        Job(config_of(reward={**document["reward"], "limit": 1}), space, tmp_path / "out")
    shutil.copytree(fashion_folder / os.listdir(fashion_folder)[0], tmp_path / "unlabelled")
    with pytest.raises(DataError, match=r"'.*unlabelled' has no labels"):  # not after an hour of training
        Job(config_of(test=str(tmp_path / "unlabelled")), space, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_reward_needs_the_gallerys_vectors(
    tmp_path: Path, config_of: MakeConfig, document: dict[str, Any], space: Path
) -> None:
    shutil.copytree(space / "space", tmp_path / "alone" / "space")
    recipe = {**document["recipe"], "objectives": {"frozen_classifier": {}}}
    with pytest.raises(ConfigError, match="the reward R3 needs the gallery encoder's embeddings"):
        Job(config_of(recipe=recipe), tmp_path / "alone", tmp_path / "out")
    homogeneous = config_of(recipe=recipe, reward={**document["reward"], "kind": "R1"})
    job = Job(homogeneous, tmp_path / "alone", tmp_path / "out")
    assert job.judge.gallery is None


def test_more_calibration_than_images_is_refused(
    tmp_path: Path, config_of: MakeConfig, document: dict[str, Any], space: Path
) -> None:
    with pytest.raises(ConfigError, match=r"reward\.batches.*at most 400"):
        Job(config_of(reward={**document["reward"], "batches": 11}), space, tmp_path)


def test_a_batch_that_cannot_be_filled_is_told_before_anything_is_trained(
    tmp_path: Path, config_of: MakeConfig, document: dict[str, Any], space: Path
) -> None:
    race = {"count": 2, "changes": {"batches.size": 4000}}
    with pytest.raises(ConfigError, match="a batch is larger than the training set: observed 4000"):
        Job(config_of(search={**document["search"], "final": race}), space, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_run_is_not_mixed_in(
    tmp_path: Path, config_of: MakeConfig, space: Path, supernet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(supernet, tmp_path / "supernet")
    embedded: list[object] = []
    monkeypatch.setattr(Reference, "targets", lambda *_: embedded.append(1))
    told = r"another recipe: observed encoder\.arguments\.budget\.macs 30000\.0, expected .* 40000\.0"
    with pytest.raises(ConfigError, match=told):
        Job(config_of(budget={"macs": 30_000}), space, tmp_path).train()
    assert not embedded


def test_the_command_line_takes_an_architecture(
    tmp_path: Path, document: dict[str, Any], space: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "query.yaml"
    recipe.write_text(yaml.safe_dump(document["recipe"]))
    words = ["train", "query", str(recipe), "--space", str(space), "--arch", "i3-c3-skip", "--out", str(tmp_path / "q")]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "observed 3 genes, expected 10" in capsys.readouterr().err
    assert not (tmp_path / "q").exists()
