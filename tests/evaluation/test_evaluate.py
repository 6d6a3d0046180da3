"""The whole evaluation, with encoders that are one matrix."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hetsearch.errors import DataError, SpaceMismatch, UsageError
from hetsearch.evaluation import evaluate, evaluate_embeddings
from hetsearch.evaluation.result import METRICS
from hetsearch.files import dump_json
from hetsearch.metrics import mean_interval
from hetsearch.preprocess import preprocess


def vectors_of(encoder, images):
    return encoder.encode_pixels(
        np.stack([preprocess(images.read(row), encoder.input) for row in range(len(images))])
    )


def cell(found, query, gallery):
    return next(row for row in found.matrix if (row.query, row.gallery) == (query, gallery))


@pytest.fixture
def found(make_images, query_encoder, gallery_encoder, free_encoder):
    return evaluate([query_encoder], gallery_encoder, make_images(), [("free-encoder", free_encoder)])


def test_every_cell_is_what_the_arrays_say(found, make_images, query_encoder, gallery_encoder, free_encoder):
    images = make_images()
    encoders = {encoder.name: encoder for encoder in (query_encoder, gallery_encoder, free_encoder)}
    assert [(row.query, row.gallery, row.kind) for row in found.matrix] == [
        ("gallery-encoder", "gallery-encoder", "paragon"),
        ("query-encoder", "query-encoder", "homogeneous"),
        ("query-encoder", "gallery-encoder", "heterogeneous"),
        ("free-encoder", "free-encoder", "baseline"),
        ("free-encoder", "gallery-encoder", "control"),
    ]
    for row in found.matrix:
        sides = [vectors_of(encoders[name], images) for name in (row.query, row.gallery)]
        expected = evaluate_embeddings(*sides, images.labels, images.labels, images.keys, images.keys)
        assert row.metrics == pytest.approx({metric: expected[metric] for metric in METRICS}, abs=1e-12)
        for metric, (low, high) in row.intervals.items():
            assert low <= row.metrics[metric] <= high
    assert (found.n_queries, found.n_gallery, found.n_without_positives) == (60, 60, 0)


def test_each_encoder_embeds_each_image_once(found, query_encoder, gallery_encoder, free_encoder):
    assert found.n_queries == 60
    assert [encoder.seen for encoder in (query_encoder, gallery_encoder, free_encoder)] == [60, 60, 60]


def test_the_verdict_follows_from_the_matrix(found):
    verdict = found.verdicts["query-encoder"]
    light = cell(found, "query-encoder", "gallery-encoder").metrics
    own = cell(found, "query-encoder", "query-encoder").metrics
    free = cell(found, "free-encoder", "free-encoder").metrics
    ceiling = cell(found, "gallery-encoder", "gallery-encoder").metrics
    assert found.paragon == {"source": "measured, float32", "metrics": ceiling}
    for metric in METRICS:
        compatible, useful = (verdict.differences[claim][metric] for claim in ("compatible", "useful"))
        assert compatible["difference"] == pytest.approx(light[metric] - own[metric])
        assert useful["difference"] == pytest.approx(light[metric] - free[metric])
        assert verdict.retention[metric] == pytest.approx(light[metric] / ceiling[metric])
    assert verdict.pfr_at_1 - verdict.nfr_at_1 == pytest.approx(light["p@1"] - ceiling["p@1"])


def test_what_the_report_draws(found, make_images, query_encoder):
    images = make_images()
    assert list(found.embeddings) == ["gallery-encoder", "query-encoder", "free-encoder"]
    drawn = found.embeddings["query-encoder"]
    np.testing.assert_allclose(drawn.vectors, vectors_of(query_encoder, images), atol=1e-6)
    assert (drawn.space, drawn.keys) == (query_encoder.space, images.keys)
    assert found.embeddings["free-encoder"].space != drawn.space
    assert found.labels == images.labels
    curve = found.recall["query-encoder", "gallery-encoder"]
    assert curve.shape == (60,)
    assert curve[9] == pytest.approx(cell(found, "query-encoder", "gallery-encoder").metrics["r@10"])
    assert list(found.examples) == ["query-encoder"]
    assert len(found.examples["query-encoder"]) == 12
    assert {name: row.role for name, row in found.encoders.items()} == {
        "gallery-encoder": "gallery", "query-encoder": "query", "free-encoder": "free",
    }


def test_the_json_is_whole_and_finite(found):
    document = json.loads(dump_json(found.as_dict()))
    assert document["schema"] == 1
    assert document["verdict"] == document["verdicts"]["query-encoder"]
    assert set(document["verdict"]["compatible"].values()) <= {True, False, None}
    assert document["matrix"][2]["map_ci"][0] <= document["matrix"][2]["map"]
    assert document["settings"]["protocol"] == "leave-one-out"
    assert document["settings"]["failures"] == []


def test_two_runs_agree(found, make_images, query_encoder, gallery_encoder, free_encoder):
    again = evaluate([query_encoder], gallery_encoder, make_images(), [("free-encoder", free_encoder)])
    assert again.as_dict() == found.as_dict()
    assert again.examples == found.examples


def test_a_bad_encoder_loses_and_the_control_is_about_chance(make_images, make_encoder, gallery_encoder):
    images = make_images(200)
    bad = make_encoder("bad", noise=3.0)
    free = make_encoder("free", space="sp_free", seed=5)
    found = evaluate([bad], gallery_encoder, images, [("free", free)])
    assert found.verdicts["bad"].compatible["map"] is False
    assert found.verdicts["bad"].useful["map"] is False
    control = cell(found, "free", "gallery-encoder").metrics
    assert abs(control["map"] - 0.25) < 0.15  # four classes
    assert cell(found, "free", "free").metrics["map"] > control["map"] + 0.2


def test_with_roles_queries_against_gallery(make_images, query_encoder, gallery_encoder):
    roles = tuple("query" if row % 3 == 0 else "gallery" for row in range(60))
    images = make_images(roles=roles)
    found = evaluate([query_encoder], gallery_encoder, images)
    asked, held = images.select("roles", "query"), images.select("roles", "gallery")
    expected = evaluate_embeddings(
        vectors_of(query_encoder, asked), vectors_of(gallery_encoder, held), asked.labels, held.labels,
        asked.keys, held.keys,
    )
    light = cell(found, "query-encoder", "gallery-encoder").metrics
    assert light == pytest.approx({metric: expected[metric] for metric in METRICS}, abs=1e-12)
    assert (found.n_queries, found.n_gallery) == (20, 40)
    assert found.settings["protocol"] == "roles"
    assert found.labels == asked.labels
    assert found.embeddings["gallery-encoder"].keys == asked.keys


def test_images_of_one_group_are_no_hits_of_each_other(make_images, query_encoder, gallery_encoder):
    # Groups of two neighbours in each class: image 0 and 4, 1 and 5, … (four classes in turn).
    groups = tuple(f"{row % 4}-{row // 8}" for row in range(64))
    plain = evaluate([query_encoder], gallery_encoder, make_images(64))
    grouped = evaluate([query_encoder], gallery_encoder, make_images(64, groups=groups))
    assert grouped.settings["groups_excluded"] is True
    assert grouped.matrix[0].metrics != plain.matrix[0].metrics
    group_of = dict(zip(make_images(64).keys, groups, strict=True))
    for example in grouped.examples["query-encoder"]:
        assert group_of[example.key] not in {group_of[key] for key, _, _ in example.hits}


def test_queries_without_positives_are_left_out_and_counted(make_images, query_encoder, gallery_encoder):
    labels = tuple("alone" if row == 7 else f"class {row % 4}" for row in range(60))
    found = evaluate([query_encoder], gallery_encoder, make_images(labels=labels))
    assert (found.n_queries, found.n_gallery, found.n_without_positives) == (59, 60, 1)
    assert len(found.labels) == 60


def test_several_query_and_free_encoders(make_images, make_encoder, gallery_encoder):
    images = make_images()
    queries = [make_encoder("bundle", noise=0.1), make_encoder("bundle", noise=1.0)]
    strangers = [make_encoder("x", space="sp_a", seed=3), make_encoder("y", space="sp_b", seed=4)]
    free = list(zip(["bundle", "other"], strangers, strict=True))
    found = evaluate(queries, gallery_encoder, images, free)
    assert list(found.encoders) == ["gallery-encoder", "bundle", "bundle-2", "bundle-3", "other"]
    assert list(found.verdicts) == ["bundle", "bundle-2"]
    assert [row.query for row in found.matrix if row.kind == "baseline"] == ["bundle-3", "other"]
    light = cell(found, "bundle", "gallery-encoder").metrics["map"]
    baseline = cell(found, "bundle-3", "bundle-3").metrics["map"]
    difference = found.verdicts["bundle"].differences["useful"]["map"]["difference"]
    assert difference == pytest.approx(light - baseline)


def test_a_control_of_another_dimension_is_left_out_with_the_reason(
    make_images, make_encoder, query_encoder, gallery_encoder
):
    free = make_encoder("free", space="sp_free", dim=5)
    found = evaluate([query_encoder], gallery_encoder, make_images(), [("free", free)])
    assert "control" not in [row.kind for row in found.matrix]
    assert found.settings["left_out"] == {"M(free, gallery-encoder)": "dimensions 5 and 12 differ"}
    assert found.verdicts["query-encoder"].gain["map"] is not None


def test_the_recorded_paragon_of_an_int8_gallery_encoder(make_images, make_encoder, query_encoder):
    record = {"data": "fake:test", "n_queries": 60, "metrics": dict.fromkeys(METRICS, 0.99)}
    gallery = make_encoder("g", role="gallery", precision="int8-weights", numbers={"paragon": record})
    found = evaluate([query_encoder], gallery, make_images())
    light = cell(found, "query-encoder", "g").metrics
    assert found.paragon == {"source": "recorded, float32", "metrics": dict.fromkeys(METRICS, 0.99)}
    assert found.verdicts["query-encoder"].retention["map"] == pytest.approx(light["map"] / 0.99)
    assert cell(found, "g", "g").metrics["map"] != 0.99  # the matrix shows what was measured
    other = evaluate([query_encoder], gallery, make_images(name="fake:validation"))
    assert other.paragon["source"] == "measured, int8-weights"


def test_unreadable_images_are_left_out_and_named(make_images, query_encoder, gallery_encoder):
    found = evaluate([query_encoder], gallery_encoder, make_images(broken=(2, 9)))
    assert (found.n_queries, found.n_gallery) == (58, 58)
    assert [failure["key"] for failure in found.settings["failures"]] == ["image 002", "image 009"]
    assert "image 002" not in found.embeddings["query-encoder"].keys


def test_intervals_are_those_of_the_per_query_numbers(make_images, query_encoder, gallery_encoder):
    images = make_images()
    found = evaluate([query_encoder], gallery_encoder, images)
    asked, held = vectors_of(query_encoder, images), vectors_of(gallery_encoder, images)
    right = []
    for row in range(60):
        scores = np.round(asked[row].astype(float) @ held.T.astype(float), 9)
        scores[row] = -2
        right.append(float(images.labels[int(np.argmax(scores))] == images.labels[row]))
    interval = cell(found, "query-encoder", "gallery-encoder").intervals["p@1"]
    assert interval == pytest.approx(mean_interval(np.array(right)), abs=1e-12)


def test_another_space_is_refused_before_anything_is_embedded(make_images, make_encoder, gallery_encoder):
    stranger = make_encoder("stranger", space="sp_other")
    with pytest.raises(SpaceMismatch, match=r"'stranger' and the.*sp_other.*sp_00112233445566aa") as error:
        evaluate([stranger], gallery_encoder, make_images())
    assert error.value.exit_code == 4
    assert stranger.seen == gallery_encoder.seen == 0


def test_what_cannot_be_evaluated_is_refused(make_images, query_encoder, gallery_encoder):
    with pytest.raises(UsageError, match="there is no query encoder"):
        evaluate([], gallery_encoder, make_images())
    with pytest.raises(UsageError, match=r"'mine' is no free encoder.*Give an encoder of the gallery's"):
        evaluate([query_encoder], gallery_encoder, make_images(), [("mine", query_encoder)])
    with pytest.raises(DataError, match=r"no query of 'fake:test' has a relevant item: observed 3 queries"):
        evaluate([query_encoder], gallery_encoder, make_images(3))
    assert gallery_encoder.seen == query_encoder.seen == 0  # before anything is embedded
    pair = make_images(3, labels=("a", "a", "b"), broken=(1,))  # only reading shows that nothing is left to find
    with pytest.raises(DataError, match=r"no query of 'fake:test' has a relevant item: observed 2 queries"):
        evaluate([query_encoder], gallery_encoder, pair)
    images = make_images()
    with pytest.raises(DataError, match="has no labels"):
        evaluate([query_encoder], gallery_encoder, type(images)(images.name, images.keys, images.read))
    assert gallery_encoder.seen == 2  # roles and labels are checked first
