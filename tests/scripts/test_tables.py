"""The rows and comparisons of the scripts that make tables, without any training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hetsearch.errors import UsageError
from hetsearch.evaluation.result import METRICS
from hetsearch.evaluation.scores import Scores
from hetsearch.metrics import difference_interval

DATA = "some:test"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import tables

    return tables


@pytest.fixture
def compatibility(tables: ModuleType) -> ModuleType:
    import table_compatibility

    return table_compatibility


def scores(seed: int, lift: float = 0.0) -> Scores:
    random = np.random.default_rng(seed)
    values = {metric: random.random(200) + lift for metric in METRICS}
    return Scores(values, np.arange(200), 0, np.zeros(1))


def open_table(tables: ModuleType, folder: Path) -> Any:
    return tables.Table(folder / "results" / "table.json", folder / "runs", "python table.py")


def test_rows_are_kept_and_found_again(tables: ModuleType, tmp_path: Path) -> None:
    table = open_table(tables, tmp_path)
    table.add("a", DATA, 1, scores(0), cost={"params": 5})
    again = open_table(tables, tmp_path)
    assert again.has("a", DATA, 1)
    assert not again.has("a", DATA, 0)
    (row,) = again.of("a", DATA)
    assert row["metrics"]["map"] == pytest.approx(scores(0).values["map"].mean())
    assert row["ci"]["map"][0] < row["metrics"]["map"] < row["ci"]["map"][1]
    np.testing.assert_array_equal(again.values("a", DATA, 1)["map"], scores(0).values["map"])


def test_two_processes_do_not_lose_each_others_rows(tables: ModuleType, tmp_path: Path) -> None:
    first, second = open_table(tables, tmp_path), open_table(tables, tmp_path)
    first.note("a", DATA, 0)
    second.note("b", DATA, 0)
    assert [row["name"] for row in open_table(tables, tmp_path).rows] == ["a", "b"]
    writers = [Thread(target=write_rows, args=(tables, tmp_path, number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(open_table(tables, tmp_path).rows) == 2 + 4 * 10


def write_rows(tables: ModuleType, folder: Path, number: int) -> None:
    table = open_table(tables, folder)
    for seed in range(10):
        table.note(f"writer {number}", DATA, seed)


def test_rows_that_are_measured_anew_are_dropped(tables: ModuleType, tmp_path: Path) -> None:
    table = open_table(tables, tmp_path)
    for name in ("a", "b"):
        table.note(name, DATA, 0)
    open_table(tables, tmp_path).drop(lambda row: row["name"] == "a")
    assert [row["name"] for row in open_table(tables, tmp_path).rows] == ["b"]


def test_comparisons_outlive_the_values_and_go_with_their_row(tables: ModuleType, tmp_path: Path) -> None:
    table = open_table(tables, tmp_path)
    table.add("a", DATA, 0, scores(0, lift=0.1))
    table.add("b", DATA, 0, scores(1))
    found = table.compare("a", "b", DATA, 0, "map")
    a, b = scores(0, lift=0.1).values["map"], scores(1).values["map"]
    assert found["difference"] == pytest.approx((a - b).mean())
    assert found["ci"] == pytest.approx(list(difference_interval(a, b)))
    for file in (tmp_path / "runs").rglob("*.npz"):
        file.unlink()
    moved = open_table(tables, tmp_path)
    assert moved.compare("a", "b", DATA, 0, "map") == found
    with pytest.raises(UsageError, match=r"row 'b' of some:test, seed 0, are not there.*Remove the row"):
        moved.compare("b", "a", DATA, 0, "map")
    moved.rows = [row for row in moved.rows if row["name"] != "b"]
    moved.add("b", DATA, 0, scores(2))
    assert json.loads((tmp_path / "results" / "table-pairs.json").read_text(encoding="utf-8")) == []


def test_rows_of_another_space_are_refused(tables: ModuleType, tmp_path: Path) -> None:
    table = open_table(tables, tmp_path)
    table.note("a", DATA, 0, space="sp_old")
    table.note("raw pixels", "other:test", 0)
    table.require_same(DATA, "space", "sp_old", what="gallery encoder")
    table.require_same("other:test", "space", "sp_new", what="gallery encoder")
    with pytest.raises(UsageError, match=r"another gallery encoder: observed 'a' of some:test with space sp_old"):
        table.require_same(DATA, "space", "sp_new", what="gallery encoder")


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([[0.1, 0.2]] * 3, "confirmed"),
        ([[-0.2, -0.1]] * 3, "refuted"),
        ([[0.1, 0.2], [0.1, 0.2], [-0.1, 0.2]], "undecided"),
        ([[0.1, 0.2], [0.1, 0.2], [-0.2, -0.1]], "undecided"),
        ([[0.1, 0.2]] * 2, "not measured with all seeds"),
    ],
)
def test_a_claim_holds_if_it_holds_for_each_seed(
    tables: ModuleType, intervals: list[list[float]], verdict: str
) -> None:
    assert tables.judge([{"ci": ci} for ci in intervals], seeds=3) == verdict


def test_a_mistake_is_a_message_and_an_exit_code(tables: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UsageError("there is no encoder")

    with pytest.raises(SystemExit) as left:
        tables.run(main)
    assert left.value.code == 2
    assert "error: there is no encoder" in capsys.readouterr().err


def bench_of(compatibility: ModuleType, tables: ModuleType, folder: Path) -> Any:
    """The trials of one data set, the gallery encoder and the images left out."""
    bench = object.__new__(compatibility.Bench)
    bench.data, bench.trials = "emoji", open_table(tables, folder)
    bench.id, bench.settings = "sp_1", compatibility.DATA["emoji"]
    return bench


def note_trials(bench: Any, name: str, settings: Any, maps: list[float]) -> None:
    for number, value in enumerate(maps):
        bench.trials.note(name, bench.data, number, settings=settings[number], validation={"map": value})


def test_every_method_has_as_many_settings_and_each_is_a_recipe(compatibility: ModuleType) -> None:
    assert {len(settings) for settings in compatibility.METHODS.values()} == {3}
    from hetsearch.objectives import check_objectives

    for settings in compatibility.METHODS.values():
        for one in settings:
            check_objectives(one["objectives"])


def test_an_addition_stands_beside_the_anchors_chosen_weights(
    compatibility: ModuleType, tables: ModuleType, tmp_path: Path
) -> None:
    bench, anchor = bench_of(compatibility, tables, tmp_path), compatibility.ANCHOR
    note_trials(bench, anchor, compatibility.METHODS[anchor], [0.5, 0.6, 0.7])
    assert bench.chosen(anchor) == compatibility.METHODS[anchor][2]
    for one in bench.settings_of(f"{anchor} + codebook"):
        assert one["objectives"].items() >= compatibility.METHODS[anchor][2]["objectives"].items()
        assert set(one["objectives"]) == {"frozen_classifier", "cosine_regression", "codebook"}


def test_trials_of_other_settings_are_refused(
    compatibility: ModuleType, tables: ModuleType, tmp_path: Path
) -> None:
    bench = bench_of(compatibility, tables, tmp_path)
    note_trials(bench, "soft labels", [{"objectives": {"soft_labels": {"weight": 9.0}}}] * 3, [0.5, 0.6, 0.7])
    with pytest.raises(UsageError, match="with other settings"):
        bench.chosen("soft labels")


def test_trials_of_other_settings_are_refused_also_where_they_lost(
    compatibility: ModuleType, tables: ModuleType, tmp_path: Path
) -> None:
    bench = bench_of(compatibility, tables, tmp_path)
    stale = [{"objectives": {"soft_labels": {"weight": 9.0}}}, *compatibility.METHODS["soft labels"][1:]]
    note_trials(bench, "soft labels", stale, [0.5, 0.6, 0.7])
    with pytest.raises(UsageError, match="with other settings"):
        bench.chosen("soft labels")


def test_the_seeds_of_a_method_have_the_same_settings(
    compatibility: ModuleType, tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(compatibility, tables, tmp_path)
    bench.table, bench.splits = bench.trials, [SimpleNamespace(source="emoji:test")]
    monkeypatch.setattr(compatibility, "train_query", lambda *_: pytest.fail("trained"))
    bench.table.note("soft labels", "emoji:test", 0, settings={"rate": 0.5}, lr=0.004)
    bench.require_settings(("soft labels",), {"rate": 0.5})
    with pytest.raises(UsageError, match=r"a row of 'soft labels' with other settings.*0\.5.*seed 0.*2\.0"):
        bench.row("soft labels", 1, {"rate": 2.0})
    bench.settings = replace(bench.settings, rate=0.016)
    with pytest.raises(UsageError, match=r"learning rate 0\.004.*learning rate 0\.016"):
        bench.row("soft labels", 1, {"rate": 0.5})


def add_method(table: Any, name: str, seed: int, lift: float, settings: Any, **more: Any) -> None:
    parts = {"homogeneous": {"map": 0.5}, "retention": {"map": 0.9}, "gain": {"map": 0.25}, "flips": {"nfr@1": 0.1}}
    for source in ("emoji:test", "emoji:validation"):
        table.add(name, source, seed, scores(seed, lift), settings=settings, cost={"params": 113927}, **parts, **more)


def test_the_words_of_compatibility(compatibility: ModuleType, tables: ModuleType, tmp_path: Path) -> None:
    from compatibility_words import write_words

    table = open_table(tables, tmp_path)
    anchor = {"objectives": {"frozen_classifier": {"margin": 0.1}, "cosine_regression": {"weight": 16.0}}}
    alone = {"objectives": {"l2_regression": {"weight": 1.0}}, "rate": 2.0}
    for seed in range(3):
        add_method(table, compatibility.ANCHOR, seed, 0.0, anchor)
        add_method(table, "L2 regression", seed, 0.1, alone)
        add_method(table, "best + ridge", seed, 0.3, {**alone, "align": "ridge"}, after="L2 regression")
        add_method(table, "MobileNetV3-Small", seed, -0.1, {**anchor, "encoder": {}})
    write_words(table, ["emoji"], tmp_path / "words.md")
    text = (tmp_path / "words.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    header = next(line for line in lines if line[0] == "method")
    cells = {line[0]: dict(zip(header, line, strict=True)) for line in lines[lines.index(header) + 2 :]}
    assert list(cells) == ["best + ridge", "L2 regression", compatibility.ANCHOR, "MobileNetV3-Small"]  # the best first
    assert cells["L2 regression"]["setting"] == "l2_regression 1, 2 × the learning rate"
    assert cells[compatibility.ANCHOR]["setting"] == "frozen_classifier margin 0.1, cosine_regression 16"
    assert cells["L2 regression"]["anchor, test"] == "better (+0.1000, +0.1000, +0.1000)"
    assert cells["L2 regression"]["anchor, validation"] == cells["L2 regression"]["anchor, test"]
    assert cells["MobileNetV3-Small"]["anchor, test"].startswith("worse")
    # The larger network's free counterpart was not trained, and a map cannot be judged where it was fitted.
    assert (cells["MobileNetV3-Small"]["gain"], cells["L2 regression"]["gain"]) == ("–", "0.2500 (0.2500 to 0.2500)")
    assert cells["best + ridge"]["anchor, validation"] == "fitted there"
    assert '- "best + ridge" follows "L2 regression"; against that one on the test images: better (+0.2000' in text


def test_the_words_of_paper_a(tables: ModuleType, tmp_path: Path) -> None:
    import table_paper_a

    table = open_table(tables, tmp_path)
    for seed in range(3):
        for name, lift in (("hybrid-1", 0.0), ("convolution", 0.1), ("hybrid-2", -0.1), ("hybrid-1, ReLU", 0.0)):
            cost = {"params": 5, "bytes": 6}
            table.add(name, "mnist:test", seed, scores(seed, lift if seed or name != "hybrid-2" else 0.1), cost=cost)
    table_paper_a.write_words(table, tmp_path / "words.md")
    text = (tmp_path / "words.md").read_text(encoding="utf-8")
    assert "| hybrid-1 | 3 | 5 | 6 |" in text
    assert "The hybrid beats the convolutions alone: refuted by map (-0.1000" in text
    assert "One involution layer beats two: undecided by map" in text  # one seed says otherwise
    assert "GELU beats ReLU: undecided by map (+0.0000 [+0.0000, +0.0000]" in text
    assert "CE + MS beats MS: not measured with all seeds by map (no seed)" in text


def test_no_map_is_fitted_before_every_method_was_tried(
    compatibility: ModuleType, tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = bench_of(compatibility, tables, tmp_path)
    note_trials(bench, "soft labels", compatibility.METHODS["soft labels"], [0.5, 0.6, 0.7])
    monkeypatch.setattr(compatibility.Bench, "row", lambda *_, **__: pytest.fail("trained"))
    bench.fitted(0)
    assert {row["name"] for row in bench.trials.rows} == {"soft labels"}
