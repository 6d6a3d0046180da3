from __future__ import annotations

import csv
import io
import json
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from hetsearch.data.images import ImageSet
from hetsearch.errors import UsageError, require_extra
from hetsearch.evaluation import evaluate, write_evaluation
from hetsearch.evaluation.report.write import thumbnails
from hetsearch.evaluation.result import METRICS
from hetsearch.files import dump_json, sha256_of


@pytest.fixture
def found(make_images, query_encoder, gallery_encoder, free_encoder):
    return evaluate([query_encoder], gallery_encoder, make_images(), [("free-encoder", free_encoder)])


@pytest.fixture
def page(monkeypatch):
    """Stands in for the report's page; returns what it was called with."""
    calls = []
    module = ModuleType("hetsearch.evaluation.report.page")

    def render_report(evaluation, thumbnail):
        calls.append((evaluation, thumbnail))
        return "<p>page</p>"

    module.render_report = render_report
    monkeypatch.setitem(sys.modules, "hetsearch.evaluation.report.page", module)
    return calls


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_folder(found, page, tmp_path, make_images):
    written = write_evaluation(found, tmp_path / "new" / "report", make_images())
    names = ["report.json", "matrix.csv", "encoders.csv", "verdicts.csv", "flips.csv", "recall.csv", "report.html"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == sorted(names)
    assert written[-1].read_text(encoding="utf-8") == "<p>page</p>"
    (evaluation, thumbnail), *_ = page
    assert evaluation is found
    assert thumbnail("image 000").startswith(b"\x89PNG")


def test_the_report_knows_its_space_and_the_files_beside_it(found, page, tmp_path):
    written = write_evaluation(found, tmp_path)
    document = json.loads(written[0].read_text(encoding="utf-8"))
    assert document.pop("files") == {path.name: sha256_of(path) for path in written[1:]}
    assert document["space"] == found.encoders["gallery-encoder"].space
    assert document == json.loads(dump_json(found.as_dict()))


def test_a_file_in_the_way(found, page, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="nothing can be written into"):
        write_evaluation(found, tmp_path / "file")


def test_tables_agree_with_the_json(found, page, tmp_path):
    write_evaluation(found, tmp_path)
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    for row, told in zip(rows_of(tmp_path / "matrix.csv"), document["matrix"], strict=True):
        assert (row["query"], row["gallery"], row["kind"]) == (told["query"], told["gallery"], told["kind"])
        for metric in METRICS:
            assert float(row[metric]) == told[metric]
            assert [float(row[f"{metric}_low"]), float(row[f"{metric}_high"])] == told[f"{metric}_ci"]
    encoders = rows_of(tmp_path / "encoders.csv")
    assert [row["name"] for row in encoders] == list(document["encoders"])
    assert encoders[0]["latency_ms"] == ""  # undefined
    for row in rows_of(tmp_path / "verdicts.csv"):
        verdict = document["verdicts"][row["query"]]
        words = {True: "true", False: "false", None: ""}
        assert row["compatible"] == words[verdict["compatible"][row["metric"]]]
        assert float(row["retention"]) == verdict["retention"][row["metric"]]
    recall = rows_of(tmp_path / "recall.csv")
    assert len(recall) == 5 * 60
    assert float(recall[0]["recall"]) == found.matrix[0].metrics["p@1"]


def test_flips_by_class_and_working_points(page, tmp_path, make_images, query_encoder, gallery_encoder):
    found = evaluate([query_encoder], gallery_encoder, make_images(), verification=True)
    written = {path.name for path in write_evaluation(found, tmp_path)}
    assert "verification.csv" in written
    assert "open_set.csv" not in written
    flips = found.verdicts["query-encoder"].flips
    rows = rows_of(tmp_path / "flips.csv")
    assert [row["class"] for row in rows] == list(flips)
    for row in rows:
        expected = flips[row["class"]]
        assert (int(row["n"]), float(row["nfr@1"]), float(row["pfr@1"])) == (
            expected.n, expected.nfr_at_1, expected.pfr_at_1,
        )  # fmt: skip
        assert float(row["delta_r@1"]) == float(row["M(q,g)"]) - float(row["M(g,g)"])
    points = rows_of(tmp_path / "verification.csv")
    assert [row["point"] for row in points[:2]] == ["tar@1e-1", "tar@1e-2"]
    assert (points[5]["rate"], points[5]["reason"]) == ("", "2,700 pairs of two classes cannot show a rate of 1e-6")
    write_evaluation(evaluate([query_encoder], gallery_encoder, make_images()), tmp_path)
    assert not (tmp_path / "verification.csv").exists()  # it would contradict the new report


def test_without_the_report_extra_the_rest_is_written_and_a_line_says_what_to_install(
    found, tmp_path, monkeypatch, capsys
):
    module = ModuleType("hetsearch.evaluation.report.page")

    def render_report(evaluation, thumbnail):
        raise require_extra("jinja2", "report")

    module.render_report = render_report
    monkeypatch.setitem(sys.modules, "hetsearch.evaluation.report.page", module)
    (tmp_path / "report.html").write_text("of an older evaluation", encoding="utf-8")
    written = write_evaluation(found, tmp_path)
    assert "report.html" not in [path.name for path in written]
    assert not (tmp_path / "report.html").exists()
    assert (tmp_path / "report.json").is_file()
    told = capsys.readouterr()
    assert "pip install 'hetsearch[report]'" in told.err
    assert told.out == ""


def one(source):
    return ImageSet("one", ("a",), lambda _: source)


def opened(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_a_tiny_image_is_enlarged_pixel_by_pixel():
    pixels = np.random.default_rng(50).integers(0, 256, (28, 28), dtype=np.uint8)
    small = opened(thumbnails(one(pixels))("a"))
    assert small.shape == (56, 56, 3)
    np.testing.assert_array_equal(small[:, :, 0], pixels.repeat(2, axis=0).repeat(2, axis=1))


@pytest.mark.parametrize("size", [(1, 1), (3, 90), (56, 56), (400, 200)])
def test_every_size_becomes_the_same_square(size):
    image = Image.new("RGB", size, (10, 200, 30))
    small = opened(thumbnails(one(image))("a"))
    assert small.shape == (56, 56, 3)
    assert small[28, 28].tolist() == [10, 200, 30]


def test_what_cannot_be_shown_is_none():
    assert thumbnails(None)("a") is None
    assert thumbnails(one(b""))("a") is None
    assert thumbnails(one(np.zeros((4, 4), np.uint8)))("b") is None
