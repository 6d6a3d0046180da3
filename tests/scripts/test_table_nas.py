"""The table of architecture searches: its words, its rank correlation, and the whole of it in small."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.stats import kendalltau

from hetsearch.config import changed, load_config
from hetsearch.errors import UsageError
from hetsearch.evaluation.result import METRICS
from hetsearch.evaluation.scores import Scores
from hetsearch.models.cost import count_macs
from hetsearch.models.network import build_network
from hetsearch.nas.config import NasConfig
from tests.nas.conftest import document, space  # noqa: F401  fixtures

SOURCE = "fashion-mnist:test"


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import nas_words

    return nas_words


@pytest.mark.parametrize("seed", range(4))
def test_the_rank_correlation_is_scipys(words: ModuleType, seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.integers(0, 12 if seed % 2 else 10_000, 30)  # with ties and without
    second = first + random.normal(scale=first.std(), size=30).round(seed % 2)
    assert words.kendall(first, second) == pytest.approx(kendalltau(first, second).statistic)
    tau, low, high = words.with_interval(first, second)
    assert low < tau < high


TRIED: dict[str, Any] = {"rates": {"0.02": 0.7}, "trials": "2 epochs"}


def test_the_words_of_a_few_rows(words: ModuleType, tmp_path: Path) -> None:
    import tables

    table = tables.Table(tmp_path / "nas.json", tmp_path / "runs", "python table_nas.py")
    random = np.random.default_rng(0)
    hard = random.random(100)

    def add(name: str, lift: float, macs: int, **more: object) -> None:
        values = dict.fromkeys(METRICS, hard * 0.5 + lift)
        own = dict.fromkeys(METRICS, 0.4 + lift)
        cost = {"macs": macs, "params": 5, "bytes": 20}
        scores = Scores(values, np.arange(100), 0, np.zeros(1))
        table.add(name, SOURCE, 0, scores, cost=cost, homogeneous=own, **(TRIED | more))

    add("M(g,g)", 0.4, 290_000_000, paragon={"map": 0.8}, paragon_source="recorded, float32")
    add("R3", 0.3, 2_900_000, arch="c3-skip", lr=0.02, rates={"0.02": 0.5, "0.01": 0.25, "0.04": None})
    add("R2", 0.3, 2_900_000, arch="c3-skip", lr=0.02)
    add("compact hybrid", 0.2, 3_000_000)
    for number in range(5):
        name, lift = f"c3-s{number}", 0.05 * number
        rewards = {"R1": lift, "R2": lift, "R3": lift}
        how = {"supernet": rewards, "epochs": 3, "lr": 0.5}
        add(f"with {name}", lift, 1000 * (number + 1), **how)
        add(f"BCT {name}", lift, 1000 * (number + 1), **how | {"lr": 0.25})
        add(f"without {name}", 0.1 - 0.01 * number, 1000 * (number + 1), **how)
    words.write_words(table, ["fashion-mnist", "emoji"], tmp_path / "nas.md")
    text = (tmp_path / "nas.md").read_text()
    assert "## emoji" not in text
    assert "| R3 | – | 2,900,000 |" in text
    assert "`c3-skip`" in text
    # One seed of three is no verdict.
    assert "- R3 above compact hybrid, by M(q,g) mAP: not measured with all seeds (+0.1000 [" in text
    assert "100 times fewer MACs" in text
    assert "R2: 0.02 0.7000 (2 epochs each); R3: 0.01 0.2500, 0.02 0.5000, 0.04 diverged (2 epochs each); " in text
    assert "| R3 | – | 2,900,000 | 5 | 0.02 |" in text
    assert "- R3 and R2 found the same network." in text
    assert "R3 with the supernet's weights against stand-alone: Kendall τ +1.00" in text
    assert "(BCT; 3 epochs, rate 0.25)" in text
    own, cross = table.of("R3", SOURCE)[0]["homogeneous"]["map"], table.of("R3", SOURCE)[0]["metrics"]["map"]
    assert f"| {cross:.4f} | {own:.4f} | `c3-skip` |" in text
    share = (0.8 - cross) / 0.8  # of the float32 weights' M(g,g), whatever the row's are
    assert f"M(q,g) mAP is below M(g,g) 0.8000 (recorded, float32) by a share of {share:.4f};" in text
    assert "was not confirmed" in text


@pytest.mark.parametrize(("lift", "verdict"), [(0.1, "confirmed"), (-0.1, "refuted"), (0.0, "undecided")])
def test_the_verdicts_of_three_seeds(words: ModuleType, tmp_path: Path, lift: float, verdict: str) -> None:
    import tables

    table = tables.Table(tmp_path / "nas.json", tmp_path / "runs", "python table_nas.py")
    random = np.random.default_rng(0)

    def add(name: str, seed: int, level: float, **more: object) -> None:
        values = dict.fromkeys(METRICS, level + 0.05 * random.standard_normal(200))
        scores = Scores(values, np.arange(200), 0, np.zeros(1))
        table.add(name, SOURCE, seed, scores, cost={"macs": 1_000_000, "params": 5}, **TRIED, **more)

    add("M(g,g)", 0, 0.8, paragon={"map": 0.8}, paragon_source="measured, float32")
    for seed in range(3):
        add("R3", seed, 0.5 + lift, arch="c3-skip")
        add("random", seed, 0.5, arch="c3-c3")
        add("compact hybrid", seed, 0.5)
        add("R3 at 1/80", seed, 0.4, arch="c3")
    words.write_words(table, ["fashion-mnist"], tmp_path / "nas.md")
    text = (tmp_path / "nas.md").read_text()
    for second in ("random", "compact hybrid"):
        assert f"- R3 above {second}, by M(q,g) mAP: {verdict} (" in text
    assert "- R3 at 1/80: 1 times fewer MACs than the gallery encoder; M(q,g) mAP is below M(g,g) 0.8000" in text
    assert "Sampled" not in text


def test_the_picture_holds_the_rows_that_are_there(words: ModuleType, tmp_path: Path) -> None:
    import nas_picture
    import tables

    table = tables.Table(tmp_path / "nas.json", tmp_path / "runs", "python table_nas.py")

    def add(name: str, seed: int, macs: int, map_: float, **more: object) -> None:
        scores = Scores(dict.fromkeys(METRICS, np.full(4, map_)), np.arange(4), 0, np.zeros(1))
        table.add(name, SOURCE, seed, scores, cost={"macs": macs}, **more)

    picture = tmp_path / "nas.svg"
    nas_picture.draw_networks(table, ["fashion-mnist", "emoji"], picture)
    assert not picture.exists()
    add("M(g,g)", 0, 290_000_000, 0.9, paragon={"map": 0.9})
    add("R3", 0, 2_000_000, 0.8, epochs=6)
    add("R3", 1, 2_000_000, 0.7, epochs=6)
    add("with c3-skip", 0, 1_000_000, 0.5, epochs=3)
    add("without c3-skip", 0, 1_000_000, 0.1, epochs=3)
    nas_picture.draw_networks(table, ["fashion-mnist", "emoji"], picture)
    told = picture.read_text()
    for label in ("M(g,g)", "R3, 6 epochs", "drawn by chance, 3 epochs", "test images of fashion-mnist"):
        assert f"{label}</text>" in told, label
    assert "emoji" not in told
    assert "hybrid" not in told
    first = picture.read_bytes()
    nas_picture.draw_networks(table, ["fashion-mnist", "emoji"], picture)
    assert picture.read_bytes() == first


@pytest.fixture
def script(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    document: dict[str, Any],  # noqa: F811
    space: Path,  # noqa: F811
    fashion_folder: Path,
) -> ModuleType:
    """scripts/table_nas.py on a search that takes seconds, with two rewards."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    table_nas = importlib.import_module("table_nas")
    test = shutil.copytree(fashion_folder, tmp_path / "test")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**document, "test": str(test)}))
    tiny = table_nas.Benchmark(
        tmp_path / "tiny.yaml", space, None, epochs=1, sampled_epochs=1, margin=0.1, bct_rate=0.02, rate_epochs=1,
    )  # fmt: skip
    monkeypatch.setattr(table_nas, "DATA", {"tiny": tiny})
    monkeypatch.setattr(table_nas, "REWARD_KINDS", ("R1", "R2"))
    words = ["--parts", "search", "free", "sampled", "--seeds", "0", "--sampled", "1", "--runs", str(tmp_path / "runs")]
    monkeypatch.setattr(sys, "argv", ["table_nas.py", *words, "--results", str(tmp_path)])
    return table_nas


def test_backward_compatible_training_is_as_the_table_of_objectives_has_chosen(words: ModuleType) -> None:
    import table_nas

    rows = json.loads(Path("results/compatibility.json").read_text())
    for data, margin, rate in (("fashion-mnist", 0.3, 0.016), ("emoji", 0.15, 0.008)):
        found = [row for row in rows if (row["name"], row["data"]) == ("frozen classifier", f"{data}:test")]
        assert len(found) == 3
        assert all(row["settings"] == {"objectives": {"frozen_classifier": {"margin": margin}}} for row in found)
        assert all(row["lr"] == rate for row in found)
        assert (table_nas.DATA[data].margin, table_nas.DATA[data].bct_rate) == (margin, rate)


def test_the_whole_table_in_small(script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods: list[str] = []
    for name in ("evolve", "draw_all"):
        method = getattr(script, name)
        monkeypatch.setattr(script, name, lambda *a, n=name, m=method, **more: methods.append(n) or m(*a, **more))
    script.main()
    assert methods == ["evolve", "evolve", "draw_all", "evolve"]
    rows = json.loads((tmp_path / "nas.json").read_text())
    assert [row["name"].split()[0] for row in rows] == ["M(g,g)", "R1", "R2", "random", "R1,", "with", "BCT", "without"]
    (scores,) = (tmp_path / "runs" / "tiny" / "tiny").glob("scores-*.jsonl")
    known = {line["arch"]: line for line in map(json.loads, scores.read_text().splitlines())}
    for row in rows[1:4]:
        of_kind = {
            "R1": known[row["arch"]]["homogeneous_map"],
            "R2": known[row["arch"]]["map"],
            "random": known[row["arch"]]["homogeneous_map"] * known[row["arch"]]["map"],
        }
        assert row["reward"] == pytest.approx(of_kind[row["name"]])
    assert all(row["space"] == rows[0]["space"] for row in rows)
    assert all(row["epochs"] == 1 and row["cost"]["macs"] <= 40_000 for row in rows[1:])
    assert rows[1]["measured"] == rows[2]["measured"] == rows[3]["measured"]
    assert rows[5]["supernet"] == rows[6]["supernet"] == rows[7]["supernet"]
    free = json.loads((tmp_path / "runs" / "tiny" / "tiny-free" / "supernet" / "supernet.json").read_text())
    assert free["recipe"]["objectives"].keys() == {"classification", "multi_similarity"}
    assert free["recipe"]["optimizer"]["lr"] == 0.004
    assert rows[4]["reward"] not in {row["reward"] for row in rows[1:4]}
    assert rows[0]["paragon"]["map"] == rows[0]["metrics"]["map"]  # the gallery encoder is a float32 one here
    assert all(row["input"] == 12 for row in rows[1:])
    assert all(max(row["rates"].values()) == row["rates"][f"{row['lr']:g}"] for row in rows[1:5])
    assert not any("rates" in row for row in rows[5:])
    recipes = {
        terms: yaml.safe_load(next((tmp_path / "runs" / "tiny").glob(f"{terms}-*/recipe.yaml")).read_text())
        for terms in ("with", "bct", "without")
    }
    assert recipes["with"]["objectives"].keys() == {"frozen_classifier", "cosine_regression"}
    assert recipes["bct"]["objectives"].keys() == {"frozen_classifier"}
    assert recipes["bct"]["objectives"]["frozen_classifier"]["margin"] == 0.1
    assert recipes["bct"]["optimizer"]["lr"] == 0.02
    assert recipes["without"]["objectives"].keys() == {"classification", "multi_similarity"}
    assert recipes["with"]["align"] is recipes["without"]["align"] is None

    def trained(*arguments: Any) -> None:
        raise AssertionError("what is done is not done again")

    monkeypatch.setattr(script, "train_query", trained)
    script.main()
    assert json.loads((tmp_path / "nas.json").read_text()) == rows

    monkeypatch.setattr(sys, "argv", [*sys.argv, "--set", "search.processes=2"])  # how fast is no other search
    script.main()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "search.seed=7"])
    with pytest.raises(UsageError, match=r"rows of another configuration: observed 'R1'"):
        script.main()
    monkeypatch.setattr(sys, "argv", sys.argv[:-3])
    for row in rows:
        row.pop("trials", None)  # as rows at the recipe's rate were
    (tmp_path / "nas.json").write_text(json.dumps(rows))
    with pytest.raises(UsageError, match=r"another way to a learning rate: observed 'R1'.*expected 1 epochs"):
        script.main()


def test_every_network_is_trained_at_the_best_of_the_rates_that_were_tried_for_it(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[tuple[str, float, int]] = []
    best = {"shuffle": 0.02, "hybrid": 0.005, "c3-skip": 0.005}

    def train(recipe: Any, space: Path, out: Path) -> Any:  # noqa: F811
        folder, _, rate = out.name.partition("-rate-")
        assert float(rate) == recipe.optimizer.lr
        tried.append((folder, recipe.optimizer.lr, recipe.schedule.epochs))
        return SimpleNamespace(best={"map": 1.0 - abs(recipe.optimizer.lr - best[folder])})

    monkeypatch.setattr(script, "train_query", train)
    table = script.Table(tmp_path / "nas.json", tmp_path / "runs", "a test")
    bench = script.Bench("tiny", table, [])

    def note(name: str, folder: str, recipe: Any, seed: int, **more: Any) -> None:
        table.note(name, bench.source, seed, lr=recipe.optimizer.lr, epochs=recipe.schedule.epochs, **more)

    monkeypatch.setattr(bench, "row", note)
    recipe = changed(bench.config.recipe, {"schedule.epochs": 7})
    for name, folder, told in (
        ("ShuffleNetV2 x0.5", "shuffle", {}),
        ("R1", "hybrid", {"arch": "c3-c3"}),
        ("R1", "c3-skip", {"arch": "c3-skip"}),  # another machine's search found another network
    ):
        for seed in (0, 1):
            bench.row_at_best_rate(name, folder, recipe, seed + 2 * ("skip" in folder), **told)
    assert tried == [  # once for all seeds
        *(("shuffle", rate, 1) for rate in (0.01, 0.02, 0.04)),
        *(("hybrid", rate, 1) for rate in (0.01, 0.02, 0.005, 0.0025)),
        *(("c3-skip", rate, 1) for rate in (0.01, 0.02, 0.005, 0.0025)),
    ]
    assert [(row["lr"], row["epochs"]) for row in table.rows] == [(0.02, 7)] * 2 + [(0.005, 7)] * 4
    for row in table.rows[:2]:
        assert row["rates"] == pytest.approx({"0.02": 1.0, "0.01": 0.99, "0.04": 0.98})


def test_a_larger_input_is_shifted_by_the_same_share(script: ModuleType) -> None:
    config = load_config(NasConfig, Path("configs/nas/fashion-mnist.yaml"))
    network = {"architecture": "torchvision", "arguments": {"name": "shufflenet_v2_x0_5"}, "dim": 128}
    found = script.fitted(changed(config.recipe, {"encoder": network}), config.budget)
    costs = []
    for side in (found.input.size, found.input.size + 4):
        spec = found.input.model_copy(update={"size": side})
        costs.append(count_macs(build_network(network["architecture"], network["arguments"], dim=128, spec=spec)))
    assert costs[0] <= 3.1302e6 < costs[1]  # the largest that keeps the budget
    assert found.augmentation.shift == round(found.input.size / 28) > 1
