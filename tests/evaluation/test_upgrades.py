"""The matrix of generations against single evaluations and by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.sides import Sides
from hetsearch.errors import DataError, UsageError
from hetsearch.evaluation import METRICS, compatibility_matrices, compatibility_matrix, evaluate_embeddings, upgrades
from hetsearch.evaluation.scores import score
from hetsearch.evaluation.upgrades import NO_FREE
from hetsearch.files import dump_json
from tests.support import OTHER_SPACE, SPACE, linear_bundle


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def generations(make_images):
    """Three encoders, each with less noise around its classes than the one before; and the protocol."""
    rng = np.random.default_rng(3)
    images = make_images(48)
    centres = rng.normal(size=(4, 6))[np.arange(48) % 4]
    vectors = [unit(centres + noise * rng.normal(size=(48, 6))).astype(np.float32) for noise in (2.0, 1.2, 0.6)]
    return vectors, Sides.of(images), images


def test_every_cell_is_an_evaluation(generations):
    vectors, sides, images = generations
    found = compatibility_matrix(vectors, sides, "map")
    for t in range(3):
        for k in range(3):
            columns = (images.labels, images.labels, images.keys, images.keys)
            expected = evaluate_embeddings(vectors[t], vectors[k], *columns)["map"]
            assert found.values[t, k] == pytest.approx(expected, abs=1e-12)
            low, high = found.intervals[t, k]
            assert low <= expected <= high
    assert found.n_queries == 48
    assert list(found.compatible) == [(1, 0), (2, 0), (2, 1)]
    for (t, k), answer in found.compatible.items():
        assert answer is bool(found.values[t, k] > found.values[k, k])
        difference, (low, high) = found.differences[t, k]
        assert difference == pytest.approx(found.values[t, k] - found.values[k, k], abs=1e-12)
        assert low <= difference <= high
    assert found.average == pytest.approx(sum(found.compatible.values()) / 3)
    assert any(found.compatible.values())


def test_every_metric_comes_of_one_ranking_a_cell(generations, monkeypatch):
    vectors, sides, _ = generations
    calls = []
    monkeypatch.setattr(upgrades, "score", lambda *given: calls.append(given) or score(*given))
    found = compatibility_matrices(vectors, sides, free={2: vectors[2]})
    assert len(calls) == 3 * 3 + 1
    assert tuple(found) == METRICS
    names = ["a", "b", "c"]
    for metric, matrix in found.items():
        assert matrix.as_dict(names) == compatibility_matrix(vectors, sides, metric, {2: vectors[2]}).as_dict(names)
    assert found["p@1"].values[2, 0] != found["map"].values[2, 0]


def test_a_tie_is_not_compatible(generations):
    vectors, sides, _ = generations
    found = compatibility_matrix([vectors[0], vectors[0]], sides)
    assert found.compatible == {(1, 0): False}
    assert (found.average, found.differences[1, 0]) == (0.0, (0.0, (0.0, 0.0)))


def test_update_gain(generations):
    vectors, sides, _ = generations
    found = compatibility_matrix(vectors, sides, "p@1", {2: vectors[2]})
    values = found.values
    for k in (0, 1):
        expected = (values[2, k] - values[k, k]) / (values[2, 2] - values[k, k])
        assert found.gains[2, k] == pytest.approx(expected, abs=1e-12)
    assert found.gains[1, 0] is None
    assert found.reasons["gain(1,0)"] == NO_FREE
    assert found.free == {2: pytest.approx(values[2, 2])}
    worse = compatibility_matrix(vectors, sides, "p@1", {1: vectors[0]})
    assert worse.gains[1, 0] is None
    assert "is not above the old one's" in worse.reasons["gain(1,0)"]


def test_other_dimensions_have_no_number_and_a_reason(generations):
    vectors, sides, _ = generations
    short = unit(vectors[1][:, :4])
    found = compatibility_matrix([vectors[0], short, vectors[2]], sides, free={2: short})
    assert np.isnan(found.values[1, 0])
    assert found.compatible == {(1, 0): None, (2, 0): found.compatible[2, 0], (2, 1): None}
    assert found.reasons["compatible(1,0)"] == "dimensions 4 and 6 differ"
    assert found.reasons["gain(2,1)"] == "dimensions 6 and 4 differ"
    assert found.average is None
    assert found.reasons["average"] == "M(1,0) is not defined: dimensions 4 and 6 differ"
    assert found.gains[2, 0] is not None  # the free encoder has a gallery of its own
    document = json.loads(dump_json(found.as_dict(["a", "b", "c"])))
    assert document["matrix"][1][0] is None
    assert document["pairs"][0] == {
        "query": "b", "gallery": "a", "compatible": None, "difference": None, "difference_ci": None,
        "update_gain": None,
    }  # fmt: skip


def test_what_cannot_be_measured_is_refused(generations, make_images):
    vectors, sides, _ = generations
    with pytest.raises(UsageError, match=r"nothing to upgrade from: observed 1 encoder\(s\)"):
        compatibility_matrix(vectors[:1], sides)
    with pytest.raises(UsageError, match=r"the metric is unknown: observed 'mao'. Did you mean 'map'"):
        compatibility_matrix(vectors, sides, "mao")
    with pytest.raises(UsageError, match="a free encoder is of no generation: observed 3, expected 0 to 2"):
        compatibility_matrix(vectors, sides, free={3: vectors[0]})
    with pytest.raises(DataError, match=r"vectors of encoder 1 are not of the images: observed \(5, 6\)"):
        compatibility_matrix([vectors[0], vectors[1][:5]], sides)
    with pytest.raises(DataError, match="the vectors of free encoder 1 are not of unit length"):
        compatibility_matrix(vectors, sides, free={1: 2 * vectors[0]})
    alone = Sides.of(make_images(48, labels=tuple(map(str, range(48)))))
    with pytest.raises(DataError, match="no query has a relevant item"):
        compatibility_matrix(vectors, alone)


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import upgrade_matrix

    return upgrade_matrix


def test_the_script_writes_rows_and_a_table(script, tmp_path, fashion_folder, monkeypatch, capsys):
    old = linear_bundle(tmp_path / "old" / "encoder", space=SPACE, seed=1, role="gallery")
    new = linear_bundle(tmp_path / "new" / "encoder", space=OTHER_SPACE, seed=2, role="gallery")
    words = ["--encoders", str(old), str(new), "--free", str(new), "--data", str(fashion_folder)]
    monkeypatch.setattr(sys, "argv", ["upgrade_matrix.py", *words])
    assert script.main([*words, "--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "upgrade-matrix.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in rows[:2]] == [f"M({old}, {old})", f"M({old}, {new})"]
    assert set(rows[0]) == {"name", "data", "seed", "metrics", "ci", "commit", "machine", "command"}
    judged = rows[-1]["metrics"]["map"]
    assert judged["matrix"][1][0] == rows[2]["metrics"]["map"]
    text = (tmp_path / "out" / "upgrade-matrix.md").read_text(encoding="utf-8")
    assert f"| 1 | {rows[2]['metrics']['map']:.4f} | {rows[3]['metrics']['map']:.4f} |" in text
    assert "200 queries of" in text
    assert script.main([*words[:2], *words[3:], "--out", str(tmp_path / "out")]) == 2
    assert "there is nothing to upgrade from" in capsys.readouterr().err
