"""What README and docs/ promise: figures are those of results/, of the cards and of the networks, commands exist."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from hetsearch.bundle import ONNX, read_card
from hetsearch.cli import app
from hetsearch.config import load_config
from hetsearch.evaluation.result import METRICS
from hetsearch.models.choice_blocks import CHOICES
from hetsearch.nas.config import NasConfig
from hetsearch.nas.costs import KINDS, MACS
from hetsearch.nas.paths import Paths
from hetsearch.training.recipe import Recipe
from tests.models.test_search_space import HYBRID

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
SEARCH = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
ZOO = ROOT / "zoo" / "fashion-mnist"
SPEED = " ".join(README.partition("\n**Speed**")[2].partition("\n\n")[0].split())
EXAMPLES = ("fashion-mnist", "emoji")
# Where the table of an example stands: after these words, in docs/results.md before the next heading.
HEADINGS = {"fashion-mnist": "## FashionMNIST\n", "emoji": "## Concepts that no training has seen\n"}
WAYS = "## Ways into the large network's space\n"
IN_README = {"fashion-mnist": "**FashionMNIST**", "emoji": "**Concepts that no training has seen**"}


def stored(table: str) -> list[dict[str, Any]]:
    """The rows of results/TABLE.json."""
    rows: list[dict[str, Any]] = json.loads((ROOT / "results" / f"{table}.json").read_text(encoding="utf-8"))
    return rows


def measured(example: str = "fashion-mnist") -> dict[str, list[dict[str, Any]]]:
    """The rows of results/EXAMPLE.json by name, one a seed."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in stored(example):
        rows.setdefault(row["name"], []).append(row)
    return rows


def section(heading: str) -> str:
    """What docs/results.md says below a heading."""
    assert RESULTS.count(f"\n{heading}") == 1, heading
    return RESULTS.partition(f"\n{heading}")[2].partition("\n#")[0]


def table_of(text: str) -> dict[str, list[list[float]]]:
    """The rows of a Markdown table that begin with M(…): of each cell the mean, and where told smallest and largest."""
    found = re.findall(r"^\| \**(M\(\S+\))[^|]*\|(.+)\|$", text, flags=re.MULTILINE)
    numbers = {name: [re.findall(r"[\d.]+", cell) for cell in cells.split("|")] for name, cells in found}
    return {name: [[float(one) for one in cell] for cell in cells] for name, cells in numbers.items()}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_table_is_the_measured_one(example: str) -> None:
    rows_of = {name: rows for name, rows in measured(example).items() if name.startswith("M(")}
    values = {name: [[row["metrics"][metric] for row in rows] for metric in METRICS] for name, rows in rows_of.items()}
    of_results = table_of((ROOT / "results" / f"{example}.md").read_text(encoding="utf-8"))
    assert of_results.keys() == values.keys()
    of_docs = table_of(section(HEADINGS[example]))
    of_readme = table_of(README.partition(IN_README[example])[2].partition("\n**")[0])
    for table in (of_docs, of_readme):
        assert {"M(g,g)", "M(q,g)", "M(q,q)", "M(q*,q*)"} <= table.keys()
    for table in (of_results, of_docs, of_readme):
        for name, cells in table.items():
            for cell, seeds in zip(cells, values[name], strict=True):
                told = [sum(seeds) / len(seeds), min(seeds), max(seeds)]
                assert cell == pytest.approx(told[: len(cell)], abs=0.5001e-4), name
                assert len(cell) == (1 if table is of_readme or min(seeds) == max(seeds) else 3), name


def test_what_is_kept_and_what_not_is_the_measured() -> None:
    rows = measured()
    light, own, free = (
        f"{sum(row['metrics']['r@10'] for row in rows[name]) / 3:.4f}" for name in ("M(q,g)", "M(q,q)", "M(q*,q*)")
    )
    for text, name in ((RESULTS, "docs/results.md"), (README, "README.md")):
        told = " ".join(text.split())
        for metric in ("map", "p@1"):
            kept = [row["metrics"][metric] for row in rows["retention M(q,g)/M(g,g)"]]
            assert f"{sum(kept) / 3:.4f}" in told, name
        neither = rf"[Bb]y R@10 it is neither: {light} is below (M\(q,q\) )?{own} and (M\(q\*,q\*\) )?{free}"
        assert re.search(neither, told), name
    for other in ("M(q,q)", "M(q*,q*)"):
        assert all(
            mine["metrics"]["r@10"] < its["metrics"]["r@10"] and mine["metrics"]["map"] > its["metrics"]["map"]
            for mine, its in zip(rows["M(q,g)"], rows[other], strict=True)
        )
    words = " ".join(section(HEADINGS["fashion-mnist"]).split())
    for name in ("class by W", "wrong first neighbours"):
        for figure in rows[name][0]["metrics"]:
            mean = sum(row["metrics"][figure] for row in rows[name]) / len(rows[name])
            assert f"{mean:.4f}" in words, (name, figure)


def test_the_verdicts_are_those_of_the_seeds() -> None:
    said = (ROOT / "results" / "fashion-mnist.md").read_text(encoding="utf-8")
    seeds = re.findall(r"^\| \d \| (\w+), (\w+) \| (\w+), (\w+) \|", said, flags=re.MULTILINE)
    assert [one[::2] for one in seeds] == [("yes", "yes")] * 3  # compatible and useful by mAP
    assert sorted(one[1] for one in seeds) == ["open", "open", "yes"]
    assert [one[3] for one in seeds] == ["open"] * 3
    told = " ".join(section(HEADINGS["fashion-mnist"]).split())
    assert "By mAP the pair is compatible and useful with each seed" in told
    assert "it is compatible with one seed of three, and whether it is useful stays **open** with each" in told
    emoji = (ROOT / "results" / "emoji.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| \d \| (the|blended)[^|]*\| (\w+), (\w+) \| (\w+), (\w+) \|", emoji, flags=re.MULTILINE)
    assert [one[1:] for one in found if one[0] == "the"] == [("no", "no", "no", "no")] * 3
    assert [(one[1], one[3], one[4]) for one in found if one[0] == "blended"] == [("yes", "yes", "open")] * 3
    told = " ".join(section(HEADINGS["emoji"]).split())
    assert "so the pair is neither compatible nor useful with any seed" in told
    assert "by P@1 whether it is useful stays open" in told


def verdict(pairs: list[dict[str, Any]]) -> str:
    """Of three seeds' paired intervals: confirmed or refuted if all lie on one side of 0, else undecided."""
    assert sorted(pair["seed"] for pair in pairs) == [0, 1, 2]
    signs = {(pair["ci"][0] > 0) - (pair["ci"][1] < 0) for pair in pairs}
    return {1: "confirmed", -1: "refuted", 0: "undecided"}[signs.pop() if len(signs) == 1 else 0]


CLAIMS = {  # of the README's table → the variant that the hybrid is compared with
    "beats the same convolutions without involution": "convolution",
    "beats involutions alone": "involution",
    "beats two involutions before them": "hybrid-2",
    "beats three": "hybrid-3",
    "is better with GELU than with ReLU": "hybrid-1, ReLU",
    "is better with CE + MS than with CE": "hybrid-1, CE",
    "is better with CE + MS than with MS": "hybrid-1, MS",
}


def test_what_the_first_paper_claims_is_judged_by_the_measured_pairs() -> None:
    rows = (line for line in section("## What the first paper claims\n").splitlines() if line.startswith("|"))
    lines = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert [line[0] for line in lines[2:]] == list(CLAIMS)
    pairs = stored("paper-a-pairs")
    for claim, *cells in lines[2:]:
        for data, cell in zip(("fashion-mnist", "mnist", "emoji"), cells, strict=True):
            of = {"first": "hybrid-1", "second": CLAIMS[claim], "data": f"{data}:test", "metric": "map"}
            found = [pair for pair in pairs if of.items() <= pair.items()]
            told, low, high = re.fullmatch(r"(\w+) \(([+-][\d.]+) to ([+-][\d.]+)\)", cell).groups()  # type: ignore[union-attr]
            assert told == verdict(found), (claim, data)
            differences = [pair["difference"] for pair in found]
            off = 0.5001 * 10.0 ** -len(low.partition(".")[2])
            assert [float(low), float(high)] == pytest.approx([min(differences), max(differences)], abs=off), claim


def searched(name: str, data: str) -> list[dict[str, Any]]:
    """The rows of results/nas.json of one name, by seed."""
    rows = [row for row in stored("nas") if (row["name"], row["data"]) == (name, f"{data}:test")]
    return sorted(rows, key=lambda row: int(row["seed"]))


def test_what_searching_brings_is_the_measured() -> None:
    words = section("## Networks found by searching\n")
    names = re.findall(r"^\| ([\w ,.-]+) \| [\d,]+ \|", words, flags=re.MULTILINE)
    assert len(names) == 8
    for name in names:
        cells = []
        for data, epochs in (("fashion-mnist", 6), ("emoji", 30)):
            rows = searched(name, data)
            assert [(row["seed"], row["epochs"]) for row in rows] == [(seed, epochs) for seed in range(3)]
            values = [row["metrics"]["map"] for row in rows]
            told = f"{sum(values) / 3:.4f} ({min(values):.4f} to {max(values):.4f})"
            cells.append(f"{rows[0]['cost']['macs']:,} | {told}")
        assert f"| {name} | {' | '.join(cells)} |" in words
    told = " ".join(words.split())

    def differences(first: str, second: str, data: str) -> list[dict[str, Any]]:
        of = {"first": first, "second": second, "data": f"{data}:test", "metric": "map"}
        found = [pair for pair in stored("nas-pairs") if of.items() <= pair.items()]
        return sorted(found, key=lambda pair: int(pair["seed"]))

    def named(pairs: list[dict[str, Any]]) -> str:
        return ", ".join(f"{pair['difference']:+.4f}" for pair in pairs)

    sets, published = ("fashion-mnist", "emoji"), names[-2:]
    verdicts = {
        (data, second): verdict(differences("R3", second, data)) for data in sets for second in set(names) - {"R3"}
    }
    usual = differences("R3", "R1, free supernet", "emoji")
    assert {place for place, found in verdicts.items() if found == "confirmed"} == {
        *product(sets, published), ("emoji", "R1, free supernet")
    }  # fmt: skip
    assert f"better than the search as usual with each seed ({named(usual)})" in told
    assert "refuted" not in verdicts.values()
    for data, second in product(sets, ("compact hybrid", "random")):
        assert named(differences("R3", second, data)) in told
    ahead = differences("R2", "R1", "emoji")
    assert verdict(ahead) == "confirmed"
    assert f"above R1, M(q,q) alone, with each seed ({named(ahead)})" in told
    assert verdict(differences("R2", "R1", "fashion-mnist")) == "undecided"
    means = {name: sum(row["metrics"]["map"] for row in searched(name, "emoji")) / 3 for name in names}
    assert max(means, key=lambda name: means[name]) == "R2"
    for second in ("compact hybrid", "random"):
        assert sum(pair["ci"][0] > 0 for pair in differences("R2", second, "emoji")) == 2
    assert f"the highest mean, {means['R2']:.4f}, above the hybrid's and chance's with two seeds of three" in told


def test_what_a_learning_rate_is_worth_to_a_searched_network() -> None:
    mine, hybrids = (searched(name, "emoji")[0]["rates"] for name in ("R3", "compact hybrid"))
    told = " ".join(section("## Networks found by searching\n").split())
    at_one = f"R3's has {mine['0.004']:.4f} on the validation split and the hybrid {hybrids['0.004']:.4f}"
    at_own = f"at their own rates {max(mine.values()):.4f} and {max(hybrids.values()):.4f}"
    assert f"at the recipe's 0.004 {at_one}, {at_own}" in told
    best = max(mine, key=lambda rate: mine[rate])
    said = " ".join(SEARCH.split())
    assert f"M(q,g) mAP {mine['0.004']:.4f} at the recipe's 0.004, {mine[best]:.4f} at {best};" in said
    own = searched("R3", "fashion-mnist")[0]["rates"]
    assert f"the recipe's {max(own, key=lambda rate: own[rate])} was the best that was tried for R3's" in said
    recipe = load_config(NasConfig, ROOT / "configs" / "nas" / "fashion-mnist.yaml").recipe
    assert f"{recipe.optimizer.lr:g}" == max(own, key=lambda rate: own[rate])


def test_how_far_what_was_searched_is_from_the_large_network() -> None:
    told = " ".join(section("## Networks found by searching\n").split())
    for name, data, has in (("R3", "fashion-mnist", "network has"), ("R3 at 1/80", "emoji", "one with")):
        (large,), rows = searched("M(g,g)", data), searched(name, data)
        above, mean = large["paragon"]["map"], sum(row["metrics"]["map"] for row in rows) / 3
        times = large["cost"]["macs"] / rows[0]["cost"]["macs"]
        assert re.search(rf"{has} {times:.0f} (times )?fewer", told)
        assert f"a share of {(above - mean) / above:.4f} below M(g,g) {above:.4f}" in told
    assert f"M(g,g) {above:.4f}: {mean:.4f}, after sixty epochs" in told
    assert {row["epochs"] for row in rows} == {60}
    said = (ROOT / "results" / "nas.md").read_text(encoding="utf-8")
    parts = [said.partition("## fashion-mnist")[2].partition("## emoji")[0], said.partition("## emoji")[2]]
    taus = [dict(re.findall(r"^- (.+): Kendall τ ([+-][\d.]+ \[.+?\])", one, flags=re.MULTILINE)) for one in parts]
    own = {terms: [one[f"{terms}, M(q,q) against M(q,g)"] for one in taus] for terms in ("with", "BCT", "without")}
    first, second = (one.split()[0] for one in own["with"])
    assert f"Kendall's τ {first} (FashionMNIST) and {second} (emoji) when trained by the recipe" in told
    assert f"{' and '.join(one.split()[0] for one in own['BCT'])} by the frozen classifier" in told
    assert f"{' and '.join(own['without'])} when trained without compatibility" in told
    shared = [one["with, R3 with the supernet's weights against stand-alone"] for one in taus]
    assert f"as their own trainings do by {' and '.join(shared)} only" in told
    assert "of eight architectures" in told
    assert [one.count("8 architectures.") for one in parts] == [len(one) for one in taus]


TIED = {  # of the README's table → the row of results/upgrade.json
    "the older classifier, with rows made for new classes (BCT)": "BCT, pseudo-classifier",
    "the older classifier, new classes left out": "BCT, new classes dropped",
    "L2 regression": "L2 regression",
    "cosine regression": "cosine regression",
}


def test_what_an_upgrade_brings_is_the_measured() -> None:
    words = section("## A new gallery encoder, an older gallery\n")
    rows = stored("upgrade")
    pairs = stored("upgrade-pairs")

    def mean(name: str, part: str, metric: str) -> str:
        values = [row[part][metric] for row in rows if row["name"] == name]
        assert len(values) == 3
        return f"{sum(values) / 3:.4f}"

    def criterion(name: str, metric: str) -> str:
        of = {"first": name, "second": "M(old,old)", "metric": metric}
        return verdict([pair for pair in pairs if of.items() <= pair.items()])

    for told, name in TIED.items():
        cells = [f"{mean(name, 'metrics', metric)} | {criterion(name, metric)}" for metric in ("map", "p@1")]
        assert f"| {told} | {' | '.join(cells)} | {mean(name, 'new_new', 'map')} |" in words
    for name in ("M(old,old)", "M(new*,new*)"):
        map_, first = (mean(name, "metrics", metric) for metric in ("map", "p@1"))
        assert re.search(rf"{re.escape(name)} {map_}( by mAP)?\s+and {first}", words)


def objectives_of(data: str, first: str, told: str) -> tuple[Callable[..., str], dict[str, list[tuple[float, float]]]]:
    """M(q,g) mAP on the test images by method, and the other methods beside ``first``: an interval for each seed.

    ``first`` has to be the best on the validation images, on which the intervals are too; what the sections of both
    data sets say alike is looked for in ``told``.
    """
    rows, pairs = stored("compatibility"), stored("compatibility-pairs")

    def mean(name: str, split: str = "test") -> str:
        values = [row["metrics"]["map"] for row in rows if (row["name"], row["data"]) == (name, f"{data}:{split}")]
        assert len(values) == 3, name
        return f"{sum(values) / 3:.4f}"

    mine = [row for row in rows if row["data"] == f"{data}:validation"]
    trained = {row["name"] for row in mine if "objectives" in row.get("settings", {})}
    methods = {name for name in trained if not any(word in name for word in ("blended", "best +", "Net"))}
    assert max(methods, key=lambda name: mean(name, "validation")) == first
    of = {"second": first, "data": f"{data}:validation", "metric": "map"}
    intervals = {
        name: [pair["ci"] for pair in pairs if {**of, "first": name}.items() <= pair.items()]
        for name in methods - {first}
    }
    assert len(intervals) == 16
    assert all(len(found) == 3 for found in intervals.values())
    assert not any(low > 0 for found in intervals.values() for low, _ in found)
    assert "none is better with any" in told
    assert f"({mean('best + procrustes')} and {mean('best + ridge')})" in told
    larger = f"reach {mean('MobileNetV3-Small')} and {mean('ShuffleNetV2 x0.5')}"
    assert f"{larger} where the tiny network has {mean('frozen + cosine')}" in told
    return mean, intervals


def test_what_the_objectives_bring_on_fashion_mnist_is_the_measured() -> None:
    told = " ".join(section(WAYS).partition("**FashionMNIST**")[2].partition("**Emoji")[0].split())
    first, default = "L2 + cross-contrastive + MS", "L2 regression"
    mean, intervals = objectives_of("fashion-mnist", first, told)
    assert f"on the validation images, {mean(first, 'validation')}, and L2 regression alone" in told
    assert f"second, {mean(default, 'validation')}: worse with one seed of three" in told
    assert all(mean(name, "validation") < mean(default, "validation") for name in intervals.keys() - {default})
    assert sum(high < 0 for _, high in intervals[default]) == 1
    worse = {name for name, found in intervals.items() if all(high < 0 for _, high in found)}
    assert worse == {"frozen classifier", "soft labels", "cross-contrastive + MS"}
    assert f"M(q,g) is {mean(first)} for the sum, {mean(default)} for L2 regression" in told
    assert f"{mean('cosine regression')} for cosine regression, {mean('frozen classifier')} for the frozen" in told
    assert f"{mean('soft labels')} for soft labels; M(q*,q*) has {mean('M(q*,q*)')}." in told


def test_what_the_objectives_bring_among_unseen_concepts_is_the_measured() -> None:
    told = " ".join(section(WAYS).partition("**Emoji")[2].split())
    first = "L2 + cross-contrastive + MS"
    mean, intervals = objectives_of("emoji", first, told)
    assert "ten of the other sixteen are worse with each seed and none is better with any" in told
    assert sum(all(high < 0 for _, high in found) for found in intervals.values()) == 10
    assert f"their M(q,g) is {mean(first)} by mAP" in told
    assert f"read no label, {mean('soft labels + cosine (no labels)')};" in told
    assert f"alone {mean('L2 regression')}, the frozen classifier alone {mean('frozen classifier')}" in told


def test_what_blending_brings_is_the_measured() -> None:
    rows = measured("emoji")
    gains = [
        f"{blended['metrics']['map'] - free['metrics']['map']:+.4f}"
        for blended, free in zip(rows["M(q,b)"], rows["M(q*,q*)"], strict=True)
    ]
    told = " ".join(section(HEADINGS["emoji"]).split())
    assert f"({gains[0]}, {gains[1]} and {gains[2]} over M(q*,q*))" in told


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_released_cards_hold_the_measured_numbers(example: str) -> None:
    released = {name: rows[0]["metrics"] for name, rows in measured(example).items()}  # seed 0
    cards = {name: read_card(ROOT / "zoo" / example / f"{name}-encoder") for name in ("gallery", "query", "free")}
    assert cards["gallery"].numbers["paragon"]["metrics"] == released["M(g,g)"]
    assert cards["free"].numbers["baseline"]["metrics"] == released["M(q*,q*)"]
    rows = {row["kind"]: row for row in cards["query"].numbers["compatibility"]["matrix"]}
    for kind, name in (("heterogeneous", "M(q,g)"), ("homogeneous", "M(q,q)"), ("control", "M(q*,g)")):
        assert {metric: rows[kind][metric] for metric in METRICS} == released[name]


def test_the_costs_are_those_of_the_cards() -> None:
    heavy, light = read_card(ZOO / "gallery-encoder"), read_card(ZOO / "query-encoder")
    size = (ZOO / "query-encoder" / ONNX).stat().st_size
    for text in (
        f"{light.macs:,} MACs instead of {heavy.macs:,} ({heavy.macs / light.macs:.0f} times fewer)",
        f"{light.params:,} parameters instead of {heavy.params:,} ({heavy.params / light.params:.0f} times fewer)",
        f"a file of {size:,} bytes",
    ):
        assert text in " ".join(README.split())
        assert text in " ".join(RESULTS.split())


def test_the_speeds_are_the_measured_ones() -> None:
    rows = {
        (row["name"], row["data"]): row["metrics"]
        for name in ("query", "service", "cold-start")
        for row in stored(name)
    }
    png = "28 × 28 PNG"
    for name, words in (
        ("query encoder, ONNX Runtime", "the query encoder, ONNX Runtime"),
        ("query encoder, OpenVINO", "the same, OpenVINO"),
        ("timm MobileNetV3-Small at 28, ONNX Runtime", "MobileNetV3-Small at 28 pixels, ONNX Runtime"),
        ("timm ResNet18 at 224, ONNX Runtime", "ResNet18 at 224 pixels, ONNX Runtime"),
        ("gallery encoder, ONNX Runtime", "the gallery encoder, ONNX Runtime"),
    ):
        one, many = rows[name, f"{png}, batch 1"], rows[name, f"{png}, batch 64"]
        cells = f"{one['p50_ms']:.3f} | {one['p99_ms']:.3f} | {many['images_per_s']:,.0f}"
        assert f"| {words} | {cells} |" in RESULTS
    for name in ("`hetsearch serve`", "LitServe", "FastAPI, no batching"):
        found = [rows[name.strip("`"), f"{count} clients"] for count in (1, 8, 64, 256)]
        cells = " | ".join(f"{row['requests_per_s']:,.0f} ({row['p99_ms']:.1f})" for row in found)
        assert f"| {name} | {cells} |" in RESULTS
    cold = rows["hetsearch, ONNX Runtime", "cold start"]
    told = " ".join(RESULTS.split())
    assert f"its first vector {cold['total']:.0f} ms after its start with {cold['peak_mb']:.0f} MB at its peak" in told
    torch = rows["the same network, torch", "cold start"]
    assert f"torch after {torch['total']:,.0f} ms with {torch['peak_mb']:.0f} MB" in told
    hits = f"{rows['bytes to 10 hits', f'{png}, to hits']['p50_ms']:.3f} ms"
    assert f"{hits} at the median" in told
    one = rows["query encoder, ONNX Runtime", f"{png}, batch 1"]
    assert f"takes {one['p50_ms']:.3f} ms at the median" in SPEED
    assert f"items {hits}" in SPEED
    assert f"{cold['total']:.0f} ms after its start with {cold['peak_mb']:.0f} MB" in SPEED
    assert f"needs {torch['total']:,.0f} ms and {torch['peak_mb']:.0f} MB" in SPEED
    most = [
        max(found["requests_per_s"] for (server, load), found in rows.items() if server == name and "clients" in load)
        for name in ("hetsearch serve", "LitServe", "FastAPI, no batching")
    ]
    assert "answers {:,.0f} requests a second, LitServe {:,.0f}, bare FastAPI {:,.0f};".format(*most) in SPEED
    sizes = (rows[f"pip install .{extra}", "install"]["mb"] for extra in ("", "[serve]"))
    assert "`pip install .` takes {:.0f} MB, `pip install '.[serve]'` {:.0f} MB".format(*sizes) in told


def test_the_gallery_s_figures_are_the_measured_ones() -> None:
    rows = {
        (row["name"], row["data"]): row["metrics"]
        for name in ("embed", "memory", "index")
        for row in stored(name)
    }
    told = " ".join(RESULTS.split())
    data = "4000 PNG files of fashion-mnist:test"
    bare, ours, peer = (rows[name, data] for name in ("bare loop", "hetsearch index build", "clip-retrieval 2.45.0"))
    assert f"A job embeds {ours['images_per_second']:.1f} images a second" in told
    assert f"{ours['of_bare']:.1%} of the bare network" in told
    assert f"tensors in memory {bare['images_per_second']:.1f}" in told
    assert f"the same network {peer['images_per_second']:.1f}" in told
    speeds = (ours["images_per_second"], bare["images_per_second"], peer["images_per_second"])
    assert "embeds {:.1f} images a second, the bare network {:.1f}, clip-retrieval {:.1f}".format(*speeds) in SPEED
    few, many = rows["Flat", "10000 keys"], rows["Flat", "1000000 keys"]
    grown = (many["embed"] + many["worker"]) / (few["embed"] + few["worker"]) - 1
    added = []
    for name in ("Flat", "SQ8", "IVF2048,SQ8@nprobe=64", "HNSW32@efSearch=128"):
        row = rows[name, "fashion-mnist with noise, 1,000,000"]
        one = f"{row['p50_ms@1']:.3f} / {row['bare_p50_ms@1']:.3f}"
        many_at_once = f"{row['p50_ms@64']:.2f} / {row['bare_p50_ms@64']:.2f} | {row['read_p50_ms@64']:.2f}"
        assert f"| `{name}` | {one} | {row['read_p50_ms@1']:.3f} | {many_at_once} |" in RESULTS
        added += [row[f"p50_ms@{count}"] / row[f"bare_p50_ms@{count}"] - 1 for count in (1, 64)]
    assert f"is at most {max(added):.1%} of these calls" in told
    # The last one is what the README tells.
    assert f"takes {row['p50_ms@1']:.3f} ms with `{name}`, FAISS's own call {row['bare_p50_ms@1']:.3f}" in SPEED
    assert f"makes it {row['read_p50_ms@1']:.3f}" in SPEED
    assert f"grows by {grown:.1%}, to {many['embed'] / 1e6:.0f} MB and {many['worker'] / 1e6:.0f} MB" in told


def test_every_result_in_the_readme_is_one_of_the_docs() -> None:
    numbers = re.findall(r"\d[\d,.]*\d%?", README.partition("\n## Results\n")[2].partition("\n#")[0])
    assert len(numbers) >= 60
    known = set(re.findall(r"\d[\d,.]*\d%?", RESULTS))
    assert [number for number in numbers if number not in known] == []


def test_what_a_search_is_made_of_is_the_code_s() -> None:
    config = load_config(NasConfig, ROOT / "configs" / "nas" / "fashion-mnist.yaml")
    paths = Paths(config.search_space, config.recipe.input, config.recipe.encoder.dim)
    told = " ".join(SEARCH.split())
    smallest, largest = (int(costs[MACS]) for costs in (paths.costs.smallest(), paths.costs.largest()))
    assert f"{paths.count / 1e9:.1f} billion architectures of {smallest:,} to {largest:,} MACs" in told
    known = {choice.code for choice in CHOICES.values()}
    listed = SEARCH.partition("| gene |")[2].partition("\n\n")[0]
    genes = re.findall(r"^\| (`\w+`(?:, `\w+`)*)(?:, …)? \|", listed, flags=re.MULTILINE)
    assert {name for cell in genes for name in re.findall(r"`(\w+)`", cell)} - {"s3w50"} == known
    (example,) = re.findall(r"`(skip-[\w-]+)`, gene by gene", SEARCH)
    rows = re.findall(r"^\| \d.*\|$", SEARCH, flags=re.MULTILINE)
    path = paths.read(example)
    of_genes = [int(table[gene, MACS]) for table, gene in zip(paths.costs.genes, path, strict=True)]
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert "-".join(row[1].strip("`") for row in cells) == example
    counted = []
    for row in cells:
        places = [int(place) - 1 for place in row[0].split(",")]
        assert int(row[-1].replace(",", "")) == sum(of_genes[place] for place in places)
        counted += places
    assert counted == list(range(len(path)))
    total, hybrid = (paths.costs.of([paths.read(name)])[0] for name in (example, HYBRID))
    assert f"that makes {total[MACS]:,.0f} MACs, and {total[KINDS.index('params')]:,.0f} parameters" in told
    assert f"`{HYBRID}`: {hybrid[MACS]:,.0f} MACs, {hybrid[KINDS.index('params')]:,.0f} parameters" in told
    weights = 4 * read_card(ZOO / "query-encoder").params
    assert f"({(ZOO / 'query-encoder' / ONNX).stat().st_size:,} bytes, {weights:,} of them weights)" in told


@pytest.mark.parametrize(
    ("text", "least"), [(README, 10), (RESULTS, 10), (SEARCH, 9)], ids=["README", "docs/results", "docs/search"]
)
def test_every_file_that_is_named_is_there(text: str, least: int) -> None:
    named = re.findall(r"(?<![\w/])(?:bash )?((?:scripts|configs|results|zoo|hetsearch)/[\w./-]*\w)", text)
    assert len(named) >= least
    assert [name for name in set(named) if not (ROOT / name).exists()] == []


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in README.splitlines() if line.startswith("#")}
    assert len(links) >= 3
    assert [link for link in links if "#" in link and link.partition("#")[2] not in headings] == []
    assert [link for link in links if "#" not in link and not (ROOT / link).exists()] == []


def commands() -> list[str]:
    """Each ``hetsearch …`` of the code blocks, on one line; ``…`` stands for what is left out."""
    found = re.findall(r"^```\w*\n(.*?)^```$", README + SEARCH, flags=re.MULTILINE | re.DOTALL)
    blocks = "\n".join(found).replace("\\\n", " ")
    return [line for line in blocks.splitlines() if line.startswith("hetsearch ")]


def test_the_commands_are_found() -> None:
    assert len(commands()) >= 7


@pytest.mark.parametrize("line", commands())
def test_every_command_has_its_flags(line: str) -> None:
    words = shlex.split(line)[1:]
    command = app
    while words and words[0] in list(command):
        command = command[words.pop(0)]
    assert command is not app, line
    known = {name for argument in command.assemble_argument_collection() for name in argument.names}
    flags = {word for word in words if re.match(r"--?[a-z]", word)}
    keys = {flag for flag in flags - known if "." in flag}  # of the configuration that the command names
    assert flags - keys <= known
    if keys:
        (config,) = (ROOT / word for word in words if word.endswith(".yaml"))
        overrides = [word for flag in keys for word in words[words.index(flag) :][:2]]
        load_config(NasConfig if "nas" in line.split() else Recipe, config, overrides)
