"""The rows and comparisons of the scripts that make tables, without any training."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hetsearch.config import changed
from hetsearch.data.images import ImageSet
from hetsearch.errors import UsageError
from hetsearch.evaluation.blending import SHARES
from hetsearch.evaluation.result import METRICS
from hetsearch.evaluation.scores import Scores, score
from hetsearch.metrics import Items, difference_interval
from hetsearch.models.network import build_network
from hetsearch.space import blend_vectors

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
    values["p@1"] = np.round(random.random(200))  # 0 or 1
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
    assert (tmp_path / "results" / "values" / "table" / "some-test" / "a-1.npz").is_file()
    kept = again.values("a", DATA, 1)
    np.testing.assert_array_equal(kept["p@1"], scores(0).values["p@1"])
    np.testing.assert_allclose(kept["map"], scores(0).values["map"], rtol=1e-7)


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


def test_a_row_of_the_same_place_is_replaced_and_not_counted_twice(tables: ModuleType, tmp_path: Path) -> None:
    first, second = open_table(tables, tmp_path), open_table(tables, tmp_path)
    first.note("a", DATA, 0, value=1)
    assert second.has("a", DATA, 0)  # which another process made
    second.note("a", DATA, 0, value=2)
    assert [row["value"] for row in open_table(tables, tmp_path).of("a", DATA)] == [2]


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
    for file in tmp_path.rglob("*.npz"):
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
    bench.of_gallery, bench.settings = {"space": "sp_1"}, compatibility.DATA["emoji"]
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
    bench.table.note("soft labels", "emoji:test", 0, settings={"rate": 0.5}, lr=bench.settings.rate)
    bench.require_settings(("soft labels",), {"rate": 0.5})
    with pytest.raises(UsageError, match=r"a row of 'soft labels' with other settings.*0\.5.*seed 0.*2\.0"):
        bench.row("soft labels", 1, {"rate": 2.0})
    old, bench.settings = bench.settings.rate, replace(bench.settings, rate=0.5)
    with pytest.raises(UsageError, match=rf"learning rate {old}.*learning rate 0\.5"):
        bench.row("soft labels", 1, {"rate": 0.5})


def add_method(table: Any, name: str, seed: int, test: float, validation: float, settings: Any, **more: Any) -> None:
    parts = {"homogeneous": {"map": 0.5}, "retention": {"map": 0.9}, "gain": {"map": 0.25}, "flips": {"nfr@1": 0.1}}
    parts |= {"cost": {"params": 113927}, "epochs": 30}
    for source, lift in (("emoji:test", test), ("emoji:validation", validation)):
        table.add(name, source, seed, scores(seed, lift), settings=settings, **parts, **more)


def tables_of(text: str) -> list[dict[str, dict[str, str]]]:
    """The tables of a Markdown text, each as first cell → header → cell."""
    found: list[dict[str, dict[str, str]]] = []
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    for number, line in enumerate(lines):
        if line and set(line) == {"---"}:
            rows = itertools.takewhile(bool, lines[number + 1 :])
            found.append({row[0]: dict(zip(lines[number - 1], row, strict=True)) for row in rows})
    return found


def test_the_words_of_compatibility(compatibility: ModuleType, tables: ModuleType, tmp_path: Path) -> None:
    table, trials = open_table(tables, tmp_path), open_table(tables, tmp_path / "trials")
    name = compatibility.ANCHOR
    anchor = {"objectives": {"frozen_classifier": {"margin": 0.1}, "cosine_regression": {"weight": 16.0}}}
    alone = {"objectives": {"l2_regression": {"weight": 1.0}}, "rate": 2.0}
    for seed in range(3):
        add_method(table, name, seed, 0.0, 0.0, anchor)
        add_method(table, "L2 regression", seed, 0.1, 0.2, alone)
        add_method(table, "cosine regression", seed, 0.2, 0.1, alone)  # better on the test images, which decide nothing
        add_method(table, "best + ridge", seed, 0.3, 0.4, {**alone, "align": "ridge"}, after="L2 regression")
        add_method(table, "best + prototypes", seed, 0.1, 0.2, alone, after="L2 regression")
        add_method(table, "MobileNetV3-Small", seed, -0.1, 0.5, {**anchor, "encoder": {}})
    for method, value in ((name, 0.3), ("L2 regression", 0.5), ("cosine regression", 0.6)):
        for number in range(3):
            told = {} if method == name else {"gallery": "abc"}
            trials.note(method, "emoji", number, validation={"map": value - number / 10}, **told)
    compatibility.write_words(table, trials, ["emoji"], tmp_path / "words.md")
    text = (tmp_path / "words.md").read_text(encoding="utf-8")
    _, methods, others = tables_of(text)
    assert list(methods) == ["L2 regression", "cosine regression", name]  # by the validation images
    first, second = methods["L2 regression"], methods["cosine regression"]
    assert first["setting"] == "l2_regression 1, 2 × the learning rate"
    assert methods[name]["setting"] == "frozen_classifier margin 0.1, cosine_regression 16"
    assert (first["first row, validation"], first["first row, test"]) == ("–", "–")
    assert second["first row, validation"] == "worse (-0.1000, -0.1000, -0.1000)"
    assert second["first row, test"] == "better (+0.1000, +0.1000, +0.1000)"
    assert second["anchor, test"] == "better (+0.2000, +0.2000, +0.2000)"
    assert methods[name]["anchor, test"] == "–"
    assert "Trained for 30 epochs." in text
    # The trials' order is cosine, L2, anchor, the validation images' L2, cosine, anchor: two pairs of three agree.
    assert "is 0.33 over 3 methods" in text
    assert "Trained for 30 epochs. The settings were chosen by trials with the gallery encoder's float32" in text
    assert list(others) == ["best + ridge", "best + prototypes", "MobileNetV3-Small"]
    assert others["best + ridge"]["difference, test"] == "better (+0.2000, +0.2000, +0.2000)"
    assert '"best + prototypes" changes nothing' in text
    assert '"best + ridge" changes nothing' not in text
    assert others["MobileNetV3-Small"]["beside"] == name
    assert others["MobileNetV3-Small"]["difference, test"].startswith("worse")
    # The larger network's free counterpart was not trained.
    assert (others["MobileNetV3-Small"]["gain"], first["gain"]) == ("–", "0.2500")


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
    assert "\n2 epochs, adamw with a learning rate of 0.004.\n" in text
    assert "ResNet50V2" not in text
    table.add("ResNet50V2", "mnist:test", 0, scores(0), cost=cost)
    table_paper_a.write_words(table, tmp_path / "words.md")
    assert "ResNet50V2 has one seed" in (tmp_path / "words.md").read_text(encoding="utf-8")


def test_a_claim_compares_what_it_names(tables: ModuleType) -> None:
    import table_paper_a

    variants = {
        "the convolutions alone": "convolution", "involutions alone": "involution", "two": "hybrid-2",
        "three": "hybrid-3", "ReLU": "hybrid-1, ReLU", "CE": "hybrid-1, CE", "MS": "hybrid-1, MS",
    }  # fmt: skip
    for claim, first, second in table_paper_a.CLAIMS:
        assert (first, second) == ("hybrid-1", variants[claim.split(" beats ")[1]])


@pytest.mark.parametrize(
    ("name", "involutions", "convolutions", "activation", "objectives"),
    [
        ("hybrid-1", 1, 4, "GELU", {"classification", "multi_similarity"}),
        ("convolution", 0, 4, "GELU", {"classification", "multi_similarity"}),
        ("involution", 4, 0, "GELU", {"classification", "multi_similarity"}),
        ("hybrid-2", 2, 4, "GELU", {"classification", "multi_similarity"}),
        ("hybrid-3", 3, 4, "GELU", {"classification", "multi_similarity"}),
        ("hybrid-1, ReLU", 1, 4, "ReLU", {"classification", "multi_similarity"}),
        ("hybrid-1, CE", 1, 4, "GELU", {"classification"}),
        ("hybrid-1, MS", 1, 4, "GELU", {"multi_similarity"}),
    ],
)
def test_a_variant_is_the_network_that_it_is_called(
    tables: ModuleType, name: str, involutions: int, convolutions: int, activation: str, objectives: set[str]
) -> None:
    import table_paper_a

    recipe = changed(table_paper_a.load_recipe("emoji"), table_paper_a.VARIANTS[name])
    encoder = recipe.encoder
    network = build_network(encoder.architecture, encoder.arguments, dim=encoder.dim, spec=recipe.input)
    kinds = [type(module).__name__ for module in network.modules()]
    assert kinds.count("Involution") == involutions
    assert kinds.count("_ConvolutionBlock") == convolutions
    assert {"GELU", "ReLU"} & set(kinds) == {activation}
    assert set(recipe.objectives) == objectives


def test_a_row_of_paper_a_is_of_the_variant_on_both_sides(
    tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import table_paper_a

    asked: list[Any] = []

    def train(recipe: Any, out: Path) -> Any:
        asked.append(recipe)
        return SimpleNamespace(bundle=out, best={"map": 0.5}, seconds=1.4)

    monkeypatch.setattr(table_paper_a, "train_gallery", train)
    monkeypatch.setattr(table_paper_a, "export_bundle", lambda _: None)
    monkeypatch.setattr(table_paper_a, "about", lambda _: {"cost": {"params": 5}})
    monkeypatch.setattr(table_paper_a, "Measured", lambda source: Stub(source, 1, follows=0.7))
    table = open_table(tables, tmp_path)
    table_paper_a.make_row(table, "hybrid-2", "emoji", 2)
    (row,) = table.of("hybrid-2", "emoji:test")
    test = Stub("emoji:test", 1, follows=0.7)
    assert row["metrics"]["map"] == pytest.approx(test.score(test.light, test.light).means()["map"])
    assert (row["seed"], row["validation"], row["seconds"]) == (2, {"map": 0.5}, 1)
    assert (asked[0].seed, asked[0].encoder.arguments) == (2, {"involutions": 2})


class Stub:
    """Two splits of one data set whose vectors and labels are made up, and trainings that take no time."""

    def __init__(self, source: str, seed: int, *, follows: float) -> None:
        random = np.random.default_rng(seed)
        self.source, self.labels = source, random.integers(0, 6, 90)
        centres = random.normal(size=(6, 16))
        self.heavy = unit(centres[self.labels] + random.normal(size=(90, 16)) * 0.5)
        # What does not follow the gallery encoder knows the classes well, in directions of its own.
        own = random.normal(size=(6, 16))[self.labels] + random.normal(size=(90, 16)) * 0.3
        self.light = unit(self.heavy * follows + unit(own) * (1 - follows) + random.normal(size=(90, 16)) * 0.1)
        self.paragon = self.score(self.heavy, self.heavy)

    def embed(self, _: object) -> Any:
        return self.light

    def score(self, query: Any, gallery: Any) -> Scores:
        keys = [str(number) for number in range(len(self.labels))]
        return score(Items(query, self.labels, keys), Items(gallery, self.labels, keys))


def unit(vectors: Any) -> Any:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def stubbed(compatibility: ModuleType, tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bench whose trainings are done at once."""
    bench = bench_of(compatibility, tables, tmp_path / "trials")
    bench.table, bench.card = open_table(tables, tmp_path), None
    bench.splits = [Stub("emoji:validation", 2, follows=0.3), Stub("emoji:test", 1, follows=0.7)]
    recorded = SimpleNamespace(metrics={"p@1": 0.9, "map": 0.8})
    monkeypatch.setattr(compatibility, "paragon_of", lambda *_: recorded)
    monkeypatch.setattr(compatibility, "about", lambda _: {"cost": {"params": 5}})
    monkeypatch.setattr(
        compatibility.Bench, "train", lambda *_: SimpleNamespace(bundle=tmp_path / "bundle", seconds=1.0)
    )
    for split in bench.splits:
        bench.table.note(compatibility.BASELINE, split.source, 0, settings={}, metrics={"p@1": 0.2, "map": 0.3})
    note_trials(bench, "soft labels", compatibility.METHODS["soft labels"], [0.5, 0.7, 0.6])
    return bench


def test_rows_of_other_weights_of_the_gallery_encoder_are_refused(
    compatibility: ModuleType, tables: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])  # where the released example lies
    monkeypatch.setattr(compatibility, "Split", lambda source, _: Stub(source, 1, follows=0.7))
    table, trials = open_table(tables, tmp_path), open_table(tables, tmp_path / "trials")
    bench = compatibility.Bench("emoji", table, trials)
    recorded = json.loads(Path("zoo/emoji/gallery-encoder/encoder.json").read_text(encoding="utf-8"))
    assert bench.of_gallery["space"] == recorded["space"]
    assert recorded["files"]["model.onnx"].startswith(bench.of_gallery["gallery"])
    table.note("soft labels", "emoji:test", 0, space=recorded["space"], gallery="of float32")
    with pytest.raises(UsageError, match=r"another gallery encoder.*'soft labels' of emoji:test with gallery of float"):
        compatibility.Bench("emoji", table, trials)


def test_a_row_says_what_was_found_on_its_own_split(stubbed: Any) -> None:
    stubbed.method("soft labels", 0)
    for split in stubbed.splits:
        (row,) = stubbed.table.of("soft labels", split.source)
        light, own = split.score(split.light, split.heavy), split.score(split.light, split.light)
        assert row["metrics"]["map"] == pytest.approx(light.means()["map"])  # M(q,g), not M(g,q)
        assert row["homogeneous"]["map"] == pytest.approx(own.means()["map"])
        assert row["retention"]["p@1"] == pytest.approx(light.means()["p@1"] / 0.9)
        assert row["gain"]["map"] == pytest.approx((light.means()["map"] - 0.3) / (0.8 - 0.3))
        right, before = light.values["p@1"] == 1, split.paragon.values["p@1"] == 1
        assert row["flips"] == {"nfr@1": np.mean(before & ~right), "pfr@1": np.mean(~before & right)}
        assert np.mean(before & ~right) != np.mean(~before & right)  # else the two could be swapped
        assert row["settings"] == {"objectives": {"soft_labels": {"weight": 1.0}}, "rate": 1.0}


def test_the_share_of_a_blend_is_chosen_on_the_validation_images(stubbed: Any) -> None:
    stubbed.blended("soft labels", 0)
    validation, test = stubbed.splits

    def found(split: Stub, share: float) -> float:
        return float(split.score(split.light, blend_vectors(split.heavy, split.light, share)).means()["map"])

    best = {split.source: max(SHARES, key=lambda share: found(split, share)) for split in stubbed.splits}
    assert best[test.source] != best[validation.source]  # else this test would show nothing
    for split in stubbed.splits:
        (row,) = stubbed.table.of("soft labels, blended", split.source)
        assert row["share"] == best[validation.source]
        assert row["metrics"]["map"] == pytest.approx(found(split, row["share"]))


def test_a_settings_rate_multiplies_the_data_sets(compatibility: ModuleType, stubbed: Any) -> None:
    recipe = stubbed.recipe("query.yaml", {"objectives": {"soft_labels": {}}, "rate": 0.5, "schedule.epochs": 1})
    assert recipe.optimizer.lr == pytest.approx(stubbed.settings.rate / 2)


def test_a_map_follows_the_best_on_the_validation_images(
    compatibility: ModuleType, stubbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, Any]] = []
    monkeypatch.setattr(compatibility.Bench, "row", lambda _, name, seed, settings, **more: made.append((name, more)))
    monkeypatch.setattr(compatibility.Bench, "chosen", lambda *_: {"objectives": {}})
    names = list(compatibility.METHODS)
    for place, name in enumerate(names):
        stubbed.fitted(0)
        assert not made  # before every method was trained
        for source, value in (("emoji:test", place / 100), ("emoji:validation", 0.9 if place == 3 else place / 100)):
            stubbed.table.note(name, source, 0, metrics={"map": value})
    stubbed.fitted(0)
    assert made == [(f"best + {method}", {"after": names[3]}) for method in stubbed.settings.fitted]
    made.clear()
    stubbed.fitted(1)  # whose rows are not there yet
    assert not made


def test_raw_pixels_do_not_see_brightness(tables: ModuleType) -> None:
    from measured import raw_pixels

    random = np.random.default_rng(0)
    picture = random.integers(0, 100, (16, 16, 3)).astype(np.uint8)
    pictures = [picture, picture + 100]
    first, second = raw_pixels(ImageSet("two", ["a", "b"], lambda number: pictures[number]))
    assert float(first @ second) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
