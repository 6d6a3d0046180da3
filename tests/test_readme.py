"""What the README promises: its figures are those of results/ and of the released cards, its commands exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from hetsearch.bundle import ONNX, read_card
from hetsearch.cli import app
from hetsearch.evaluation.result import METRICS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ZOO = ROOT / "zoo" / "fashion-mnist"
EXAMPLES = ("fashion-mnist", "emoji")
# Where in the README the table of an example stands: after this heading, before the next.
HEADINGS = {"fashion-mnist": "## Results\n", "emoji": "### Concepts that no training has seen\n"}


def measured(example: str = "fashion-mnist") -> dict[str, list[dict[str, Any]]]:
    """The rows of results/EXAMPLE.json by name, one a seed."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads((ROOT / "results" / f"{example}.json").read_text(encoding="utf-8")):
        rows.setdefault(row["name"], []).append(row)
    return rows


def section_of(example: str) -> str:
    """What the README says of an example's results."""
    return README.partition(HEADINGS[example])[2].partition("\n#")[0]


def table_of(text: str) -> dict[str, list[float]]:
    """The rows of a Markdown table that begin with M(…), each cell's first number."""
    found = re.findall(r"^\| \**(M\(\S+\))[^|]*\|(.+)\|$", text, flags=re.MULTILINE)
    return {name: [float(re.findall(r"[\d.]+", cell)[0]) for cell in cells.split("|")] for name, cells in found}


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_table_is_the_measured_one(example: str) -> None:
    rows_of = {name: rows for name, rows in measured(example).items() if name.startswith("M(")}
    means = {
        name: [sum(row["metrics"][metric] for row in rows) / len(rows) for metric in METRICS]
        for name, rows in rows_of.items()
    }
    of_results = table_of((ROOT / "results" / f"{example}.md").read_text(encoding="utf-8"))
    of_readme = table_of(section_of(example))
    assert of_results.keys() == means.keys()
    assert {"M(g,g)", "M(q,g)", "M(q,q)", "M(q*,q*)"} <= of_readme.keys()
    for table in (of_results, of_readme):
        for name, cells in table.items():
            assert cells == pytest.approx(means[name], abs=0.5001e-4), name


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
    section = README.partition("### What the first paper claims\n")[2].partition("\n#")[0]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    assert [line[0] for line in lines[2:]] == list(CLAIMS)
    pairs = json.loads((ROOT / "results" / "paper-a-pairs.json").read_text(encoding="utf-8"))
    for claim, *cells in lines[2:]:
        for data, cell in zip(("fashion-mnist", "mnist", "emoji"), cells, strict=True):
            of = {"first": "hybrid-1", "second": CLAIMS[claim], "data": f"{data}:test", "metric": "map"}
            found = [pair for pair in pairs if of.items() <= pair.items()]
            assert sorted(pair["seed"] for pair in found) == [0, 1, 2]
            signs = {(pair["ci"][0] > 0) - (pair["ci"][1] < 0) for pair in found}
            verdict = {1: "confirmed", -1: "refuted", 0: "undecided"}[signs.pop() if len(signs) == 1 else 0]
            told, low, high = re.fullmatch(r"(\w+) \(([+-][\d.]+) to ([+-][\d.]+)\)", cell).groups()  # type: ignore[union-attr]
            assert told == verdict, (claim, data)
            differences = [pair["difference"] for pair in found]
            off = 0.5001 * 10.0 ** -len(low.partition(".")[2])
            assert [float(low), float(high)] == pytest.approx([min(differences), max(differences)], abs=off), claim


TIED = {  # of the README's table → the row of results/upgrade.json
    "the older classifier, with rows made for new classes (BCT)": "BCT, pseudo-classifier",
    "the older classifier, new classes left out": "BCT, new classes dropped",
    "L2 regression": "L2 regression",
    "cosine regression": "cosine regression",
}


def test_what_an_upgrade_brings_is_the_measured() -> None:
    section = README.partition("### A new gallery encoder, an older gallery\n")[2].partition("\n#")[0]
    rows = json.loads((ROOT / "results" / "upgrade.json").read_text(encoding="utf-8"))
    pairs = json.loads((ROOT / "results" / "upgrade-pairs.json").read_text(encoding="utf-8"))

    def mean(name: str, part: str, metric: str) -> str:
        values = [row[part][metric] for row in rows if row["name"] == name]
        assert len(values) == 3
        return f"{sum(values) / 3:.4f}"

    def criterion(name: str, metric: str) -> str:
        of = {"first": name, "second": "M(old,old)", "metric": metric}
        found = [pair["ci"] for pair in pairs if of.items() <= pair.items()]
        assert len(found) == 3
        if all(low > 0 for low, _ in found):
            return "confirmed"
        return "refuted" if all(high < 0 for _, high in found) else "undecided"

    for told, name in TIED.items():
        cells = [f"{mean(name, 'metrics', metric)} | {criterion(name, metric)}" for metric in ("map", "p@1")]
        assert f"| {told} | {' | '.join(cells)} | {mean(name, 'new_new', 'map')} |" in section
    for name in ("M(old,old)", "M(new*,new*)"):
        map_, first = (mean(name, "metrics", metric) for metric in ("map", "p@1"))
        assert re.search(rf"{re.escape(name)} {map_}( by mAP)?\s+and {first}", section)


def test_what_the_objectives_bring_among_unseen_concepts_is_the_measured() -> None:
    told = " ".join(section_of("emoji").split())
    results = ROOT / "results"
    rows = json.loads((results / "compatibility.json").read_text(encoding="utf-8"))
    pairs = json.loads((results / "compatibility-pairs.json").read_text(encoding="utf-8"))
    first = "L2 + cross-contrastive + MS"
    mine = [row for row in rows if row["data"] == "emoji:validation"]
    trained = {row["name"] for row in mine if "objectives" in row.get("settings", {})}
    others = {name for name in trained if not any(word in name for word in ("blended", "best +", "Net"))} - {first}
    assert len(others) == 16
    assert "Seventeen objectives and sums" in told
    of = {"second": first, "data": "emoji:validation", "metric": "map"}
    found = {name: [pair["ci"] for pair in pairs if {**of, "first": name}.items() <= pair.items()] for name in others}
    assert all(len(intervals) == 3 for intervals in found.values())
    assert sum(all(high < 0 for _, high in intervals) for intervals in found.values()) == 10
    assert "ten of the other sixteen are worse with each seed and none is better with any" in told
    assert not any(low > 0 for intervals in found.values() for low, _ in intervals)

    def mean(name: str) -> str:
        values = [row["metrics"]["map"] for row in rows if (row["name"], row["data"]) == (name, "emoji:test")]
        assert len(values) == 3
        return f"{sum(values) / 3:.4f}"

    assert f"it keeps M(q,g) {mean(first)} by mAP" in told
    assert f"read no label, {mean('soft labels + cosine (no labels)')};" in told
    assert f"alone {mean('L2 regression')}, the frozen classifier alone {mean('frozen classifier')}" in told
    assert f"({mean('best + procrustes')} and {mean('best + ridge')})" in told
    assert f"reach {mean('MobileNetV3-Small')} and {mean('ShuffleNetV2 x0.5')}" in told


def test_what_blending_brings_is_the_measured() -> None:
    rows = measured("emoji")
    gains = [
        f"{blended['metrics']['map'] - free['metrics']['map']:+.4f}"
        for blended, free in zip(rows["M(q,b)"], rows["M(q*,q*)"], strict=True)
    ]
    told = " ".join(section_of("emoji").split())
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
    told = " ".join(README.split())
    for text in (
        f"{light.macs:,} MACs instead of {heavy.macs:,} ({heavy.macs / light.macs:.0f} times fewer)",
        f"{light.params:,} parameters instead of {heavy.params:,} ({heavy.params / light.params:.0f} times fewer)",
        f"a file of {size:,} bytes",
    ):
        assert text in told


def test_the_speeds_are_the_measured_ones() -> None:
    rows = {
        (row["name"], row["data"]): row["metrics"]
        for name in ("query", "service", "cold-start")
        for row in json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
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
        assert f"| {words} | {cells} |" in README
    for name in ("`hetsearch serve`", "LitServe", "FastAPI, no batching"):
        found = [rows[name.strip("`"), f"{count} clients"] for count in (1, 8, 64, 256)]
        cells = " | ".join(f"{row['requests_per_s']:,.0f} ({row['p99_ms']:.1f})" for row in found)
        assert f"| {name} | {cells} |" in README
    cold = rows["hetsearch, ONNX Runtime", "cold start"]
    told = " ".join(README.split())
    assert f"its first vector {cold['total']:.0f} ms after its start with {cold['peak_mb']:.0f} MB at its peak" in told
    assert f"{rows['bytes to 10 hits', f'{png}, to hits']['p50_ms']:.3f} ms at the median" in told
    sizes = (rows[f"pip install .{extra}", "install"]["mb"] for extra in ("", "[serve]"))
    assert "`pip install .` takes {:.0f} MB, `pip install '.[serve]'` {:.0f} MB".format(*sizes) in told


def test_the_gallery_s_figures_are_the_measured_ones() -> None:
    rows = {
        (row["name"], row["data"]): row["metrics"]
        for name in ("embed", "memory", "index")
        for row in json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8"))
    }
    told = " ".join(README.split())
    data = "4000 PNG files of fashion-mnist:test"
    bare, ours, peer = (rows[name, data] for name in ("bare loop", "hetsearch index build", "clip-retrieval 2.45.0"))
    assert f"A job embeds {ours['images_per_second']:.1f} images a second" in told
    assert f"{ours['of_bare']:.1%} of the bare network" in told
    assert f"tensors in memory ({bare['images_per_second']:.1f})" in told
    assert f"the same network {peer['images_per_second']:.1f}" in told
    few, many = rows["Flat", "10000 keys"], rows["Flat", "1000000 keys"]
    grown = (many["embed"] + many["worker"]) / (few["embed"] + few["worker"]) - 1
    for name in ("Flat", "SQ8", "IVF2048,SQ8@nprobe=64", "HNSW32@efSearch=128"):
        row = rows[name, "fashion-mnist with noise, 1,000,000"]
        one = f"{row['p50_ms@1']:.3f} / {row['bare_p50_ms@1']:.3f}"
        assert f"| `{name}` | {one} | {row['p50_ms@64']:.2f} / {row['bare_p50_ms@64']:.2f} |" in README
    assert f"grows by {grown:.1%}, to {many['embed'] / 1e6:.0f} MB and {many['worker'] / 1e6:.0f} MB" in told


def test_every_file_that_is_named_is_there() -> None:
    linked = re.findall(r"\]\(([^)#:]+)\)", README)
    named = re.findall(r"(?<![\w/])(?:bash )?((?:scripts|configs|results|zoo|hetsearch)/[\w./-]*\w)", README)
    assert len(linked) >= 1
    assert len(named) >= 10
    assert [name for name in {*linked, *named} if not (ROOT / name).exists()] == []


def commands() -> list[str]:
    """Each ``hetsearch …`` of the code blocks, on one line; ``…`` stands for what is left out."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
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
    assert {word for word in words if re.match(r"--?[a-z]", word)} <= known
