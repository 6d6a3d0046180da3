"""The curve of a back-fill against brute force on real pictures, and its way into the report."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cyclopts import App

from hetsearch.cli.evaluate import evaluate
from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.data.sides import Sides
from hetsearch.errors import SpaceMismatch, UsageError
from hetsearch.evaluation.backfill import backfill_rows, orders_of, require_older
from hetsearch.evaluation.report.words import asked_lines
from hetsearch.gallery import backfill_gallery, build_gallery, open_gallery, stable_ids, upgrade_gallery
from hetsearch.gallery.jobs.order import margins
from hetsearch.metrics import difference_interval
from tests.pair import Pair, make_pair

ITEMS = 100


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, fashion_train: tuple[np.ndarray, np.ndarray]) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"), *fashion_train, name="class {}")


@pytest.fixture(scope="module")
def images(fashion_test: tuple[np.ndarray, np.ndarray]) -> ImageSet:
    pixels, labels = fashion_test[0][:ITEMS], fashion_test[1][:ITEMS]
    keys = tuple(f"test-{row:05d}" for row in range(ITEMS))
    return ImageSet("slice", keys, ArrayReader(pixels), tuple(f"class {label}" for label in labels))


@pytest.fixture(scope="module")
def sides(images: ImageSet) -> Sides:
    return Sides.of(images)


@pytest.fixture(scope="module")
def vectors(pair: Pair, images: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    pixels = [images.read(row) for row in range(ITEMS)]
    return pair.old.encode(pixels).vectors, pair.new.encode(pixels).vectors


def brute(query: np.ndarray, held: np.ndarray, images: ImageSet) -> dict[str, np.ndarray]:
    """P@1 and average precision of every query, by loops, its own image left out."""
    found: dict[str, list[float]] = {"p@1": [], "map": []}
    for row, vector in enumerate(query.astype(np.float64)):
        scores = [round(float(vector @ item), 9) for item in held.astype(np.float64)]
        others = [other for other in range(ITEMS) if other != row]
        ranked = sorted(others, key=lambda other, scores=scores: (-scores[other], images.keys[other]))
        right = [images.labels[other] == images.labels[row] for other in ranked]
        ranks = [rank for rank, is_right in enumerate(right, start=1) if is_right]
        found["p@1"].append(float(right[0]))
        found["map"].append(sum(number / rank for number, rank in enumerate(ranks, start=1)) / len(ranks))
    return {name: np.array(values) for name, values in found.items()}


def test_the_curve_and_its_area_are_those_of_brute_force(
    pair: Pair, images: ImageSet, sides: Sides, vectors: tuple[np.ndarray, np.ndarray]
) -> None:
    old, new = vectors
    orders = orders_of(sides, old, pair.after)
    ids = stable_ids(images.keys)
    assert orders["random"].tolist() == sorted(range(ITEMS), key=ids.__getitem__)
    assert orders["gain"].tolist() == np.argsort(margins(old, pair.after), kind="stable").tolist()
    chance, gain = backfill_rows({"q": new}, old, new, sides, {"gain": orders["gain"], **orders}, steps=3)
    areas = {}
    for row in (chance, gain):
        assert row.shares == (0, 0.33, 0.67, 1)
        points = []
        for cut in (0, 33, 67, 100):
            held = old.copy()
            held[orders[row.order][:cut]] = new[orders[row.order][:cut]]
            points.append(brute(new, held, images))
        for metric in ("p@1", "map"):
            assert row.metrics[metric] == pytest.approx([point[metric].mean() for point in points], abs=1e-12)
            widths = (0.33, 0.34, 0.33)
            area = sum(w * (points[at][metric] + points[at + 1][metric]) / 2 for at, w in enumerate(widths))
            assert row.areas[metric] == pytest.approx(area.mean(), abs=1e-12)
            low, high = row.area_intervals[metric]
            assert low < row.areas[metric] < high
            areas[row.order, metric] = area
    assert (chance.order, gain.order, chance.differences) == ("random", "gain", None)
    for metric in ("p@1", "map"):
        mean, low, high = gain.differences[metric]
        assert mean == pytest.approx(gain.areas[metric] - chance.areas[metric], abs=1e-12)
        expected = difference_interval(areas["gain", metric], areas["random", metric])
        assert (low, high) == pytest.approx(expected, abs=1e-12)
        assert chance.former[metric] == pytest.approx(brute(old, old, images)[metric].mean(), abs=1e-12)


def test_a_compatible_encoder_is_better_at_once_and_best_in_the_end(
    pair: Pair, sides: Sides, vectors: tuple[np.ndarray, np.ndarray]
) -> None:
    old, new = vectors
    (row,) = backfill_rows({"q": new}, old, new, sides, orders_of(sides, old, None), steps=2)
    assert row.former["map"] < row.metrics["map"][0] < row.metrics["map"][-1]


def test_a_real_gallery_gives_the_curve_s_first_hits(
    pair: Pair, images: ImageSet, sides: Sides, vectors: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """What is drawn is what ``index upgrade --backfill`` makes: P@1 by searches in the gallery itself."""
    old, new = vectors
    rows = backfill_rows({"q": new}, old, new, sides, orders_of(sides, old, pair.after), steps=4)
    build_gallery(pair.old, images, tmp_path / "g", progress=False)
    upgrade_gallery(tmp_path / "g", pair.new, pair.after)
    query = pair.new.encode([images.read(row) for row in range(ITEMS)], images.keys)
    for row in rows:
        gallery = Path(shutil.copytree(tmp_path / "g", tmp_path / row.order))
        how = {"order": row.order, "space": pair.after, "progress": False}
        for at, share in enumerate(row.shares):
            if share:
                backfill_gallery(gallery, pair.new, images, share=share, **how)
            found = open_gallery(gallery).search(query, 2)
            right = 0
            for key, label, hits in zip(images.keys, images.labels, found, strict=True):
                first = next(hit for hit in hits if hit.key != key)
                right += first.item["label"] == label
            assert row.metrics["p@1"][at] == pytest.approx(right / ITEMS, abs=1e-12)


def test_without_a_classifier_there_is_only_chance(
    pair: Pair, sides: Sides, vectors: tuple[np.ndarray, np.ndarray]
) -> None:
    assert list(orders_of(sides, vectors[0], None)) == ["random"]


def test_what_is_no_older_encoder(pair: Pair) -> None:
    with pytest.raises(UsageError, match="is no older gallery encoder: observed the new one's space"):
        require_older(pair.new, pair.new)
    short = SimpleNamespace(name="short", space="sp_x", dim=8)
    with pytest.raises(UsageError, match="cannot be compared: observed 8 numbers, expected 16"):
        require_older(short, pair.new)


def test_evaluate_draws_an_upgrade(
    pair: Pair, fashion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    app = App(name="hetsearch", result_action="return_value")
    app.command(evaluate)
    old, new = (str(encoder.folder) for encoder in (pair.old, pair.new))
    words = ["evaluate", "--query", new, "--gallery", new, "--data", str(fashion_folder), "--upgrade-from", old]
    assert app([*words, "--out", str(tmp_path), "--json"], exit_on_error=False) == 0
    document = json.loads(capsys.readouterr().out)
    chance, gain = document["backfill"]
    assert (chance["order"], gain["order"]) == ("random", "gain")
    assert chance["share"] == [step / 10 for step in range(11)]
    assert chance["map"][-1] == document["matrix"][0]["map"]
    assert gain["area"]["map_ci"][0] < gain["area"]["map"] < gain["area"]["map_ci"][1]
    assert chance["area_against_random"] is None
    assert gain["area_against_random"]["map"]["difference"] == pytest.approx(
        gain["area"]["map"] - chance["area"]["map"]
    )
    with (tmp_path / "backfill.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [float(row["map"]) for row in table[:11]] == chance["map"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("against the share embedded again</figcaption>") == 2
    assert f"area {gain['area']['map']:.4f}" in page
    with pytest.raises(SpaceMismatch, match="the space and the gallery encoder"):
        app([*words, "--space", str(pair.folder / "old")], exit_on_error=False, print_error=False)


def test_a_curve_in_words(pair: Pair, sides: Sides, vectors: tuple[np.ndarray, np.ndarray]) -> None:
    old, new = vectors
    rows = backfill_rows({"q": new}, old, new, sides, orders_of(sides, old, pair.after), steps=2)
    told = asked_lines(SimpleNamespace(verification=None, open_set=None, baseline=None, gates=None, backfill=rows))
    assert told[1] == "back-fill, queries by q, order random:"
    assert f"{rows[0].former['map']:.4f} before, {rows[0].metrics['map'][0]:.4f} at 0%" in told[2]
    assert f"area {rows[0].areas['map']:.4f}" in told[2]
    assert f"area against the random order {rows[1].differences['p@1'][0]:+.4f}" in told[-1]
