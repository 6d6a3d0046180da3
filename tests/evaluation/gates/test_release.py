"""Figures by name, gates over a report, and the comparison with an older one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hetsearch.errors import DamagedArtifact, GateNotMet, SpaceMismatch, UsageError
from hetsearch.evaluation import Release, evaluate, require_gates
from hetsearch.evaluation.gates.baseline import baseline_figures, check_baseline, listing_of, read_baseline
from hetsearch.evaluation.gates.figures import figures_of, known_figures
from hetsearch.evaluation.gates.release import judge_gates, read_gates
from hetsearch.evaluation.result import METRICS, NO_FILE, GateRow
from hetsearch.files import write_json
from tests.evaluation.conftest import SPACE
from tests.evaluation.made import FIGURES, FLIPS, F, G, Q, evaluation


@pytest.fixture(scope="module")
def document():
    return evaluation().as_dict()


def test_every_figure_is_the_reports(document):
    figures = figures_of(document, Q, tuple(FLIPS))
    verdict = document["verdicts"][Q]
    pairs = {"M(q,g)": (Q, G), "M(q,q)": (Q, Q), "M(g,g)": (G, G), "M(q*,q*)": (F, F), "M(q*,g)": (F, G)}
    kinds = {pair[:2]: values for pair, values in FIGURES.items()}
    for index, metric in enumerate(METRICS):
        for family in ("compatible", "useful", "retention", "gain"):
            assert figures[f"{family}.{metric}"].value == verdict[family][metric]
        for cell, pair in pairs.items():
            assert figures[f"{cell}.{metric}"].value == kinds[pair][index]
            assert figures[f"{cell}.{metric}.low"].value == pytest.approx(kinds[pair][index] - 0.0043)
        assert figures[f"retention.{metric}.high"].value == 1.0042
        assert figures[f"paragon.{metric}"].value == document["paragon"]["metrics"][metric]
    assert figures["compatible.p@1"].reason.endswith("holds 0")
    assert figures["nfr@1[Shirt]"].value == figures["worst.nfr@1"].value == 0.06
    assert figures["q.macs"].value == 2_631_680
    assert figures["g.latency_ms"].value == 21.43
    assert figures["n_without_positives"].value == 3
    assert figures["M(q,g).tar@1e-3"].reason == "the report has no verification"


def test_names_do_not_depend_on_the_report(document):
    classes = ("Shirt", "no such class")
    assert list(known_figures(classes)) == list(figures_of(document, Q, classes))
    assert known_figures()["compatible.map"] == "truth"
    assert known_figures()["retention.map"] == "number"
    assert figures_of(document, Q, classes)["nfr@1[no such class]"].value is None


@pytest.mark.parametrize(
    "broken",
    [
        {}, {"verdicts": None}, {"verdicts": {Q: 3}}, {"matrix": [7]}, {"matrix": "x"}, {"encoders": {"a": None}},
        {"verdicts": {Q: {"retention": {"map": "high"}, "compatible": {"map": 1}, "reasons": [], "flips": {"a": 1}}}},
        {"verdicts": {Q: {"nfr@1": float("nan"), "differences": {"retention": {"map": {"ci": [1]}}}}}},
    ],
)  # fmt: skip
def test_a_report_that_lacks_something_leaves_it_undefined(broken):
    figures = figures_of(broken, Q)
    assert {figure.value for figure in figures.values()} == {None}
    assert all(figure.reason for figure in figures.values())


def gate_rows(document, *expressions, **asked):
    return judge_gates(read_gates(expressions, tuple(FLIPS), **asked), document, tuple(FLIPS))


def test_gates_are_met_or_not_with_the_figures(document):
    expressions = ("retention.map < 0.98", "compatible.p@1 != true", "nfr@1[Shirt] > 0.05")
    met, undefined, broken = gate_rows(document, *expressions)
    assert (met.met, met.holds) == (True, False)
    assert (undefined.met, undefined.holds) == (False, None)
    assert undefined.reasons["compatible.p@1"].endswith("holds 0")
    assert (broken.met, broken.figures) == (False, {"nfr@1[Shirt]": 0.06})
    require_gates([met])
    with pytest.raises(GateNotMet) as error:
        require_gates([met, undefined, broken])
    assert error.value.exit_code == 4
    assert str(error.value) == (
        f"the gate 'compatible.p@1 != true' is not met by '{Q}': observed compatible.p@1 undefined (the 95 % interval "
        "of M(q,g) - M(q,q), [-0.0008, +0.0052], holds 0), expected compatible.p@1 == true. Nor is "
        f"'nfr@1[Shirt] > 0.05' for '{Q}': nfr@1[Shirt] 0.06."
    )


def test_a_cost_that_is_not_known_meets_no_gate():
    whole = evaluation()
    bare = replace(whole.encoders[Q], macs=0, bytes=None, latency_ms=None)
    rows = gate_rows(
        replace(whole, encoders={**whole.encoders, Q: bare}).as_dict(),
        "q.macs > 3e6", "q.bytes > 1e6", "q.latency_ms > 5", "q.params > 1e6",
    )  # fmt: skip
    assert [(row.met, row.holds) for row in rows] == [(False, None)] * 3 + [(True, False)]
    assert [rows[0].reasons, rows[1].reasons] == [{"q.macs": "it was not measured"}, {"q.bytes": NO_FILE}]


def test_a_gate_without_figures():
    row = GateRow("true", Q, False, True, {}, {}, "not (true)")
    with pytest.raises(GateNotMet, match="observed that it is always true"):
        require_gates([row])


def test_every_query_encoder_must_pass(document):
    verdicts = dict(document["verdicts"])
    verdicts["second"] = {**verdicts[Q], "nfr@1": 0.5}
    rows = gate_rows({**document, "verdicts": verdicts}, "nfr@1 > 0.1")
    assert [(row.query, row.met) for row in rows] == [(Q, True), ("second", False)]


def test_what_is_not_measured_is_refused_with_the_flag():
    for expression, flag in (
        ("M(q,g).tar@1e-3 < 0.9", "--verification"),
        ("M(g,g).tpir@1e-2 < 0.9", "--open-set"),
        ("retention.map < baseline.retention.map", "--baseline"),
        ("baseline.M(q,g).tar@1e-3 < 0.9", "--baseline"),
    ):
        with pytest.raises(UsageError, match=flag):
            read_gates([expression], ())
    everything = read_gates(
        ["M(q,g).tar@1e-3 < baseline.M(q,g).tar@1e-3 or M(g,g).tpir@1e-2 < 0.9"],
        (), baseline=True, verification=True, open_set=True,
    )  # fmt: skip
    assert len(everything[0].names) == 3


@pytest.fixture
def found(make_images, query_encoder, gallery_encoder):
    return evaluate([query_encoder], gallery_encoder, make_images())


@pytest.fixture
def older(found, tmp_path):
    """A report of the same images whose retention is 0.01 higher."""
    document = json.loads(json.dumps(found.as_dict()))
    document["verdicts"]["query-encoder"]["retention"]["map"] += 0.01
    write_json(tmp_path / "old" / "report.json", document)
    return tmp_path / "old"


def test_differences_to_an_older_report(found, older, make_images):
    release = Release.plan(
        make_images(), SPACE,
        ["retention.map < baseline.retention.map - 0.005", "retention.map < baseline.retention.map - 0.02"], older,
    )  # fmt: skip
    judged = release.judge(found)
    assert [row.met for row in judged.gates] == [False, True]
    compared = judged.baseline["queries"]["query-encoder"]
    assert compared["compared_with"] == "query-encoder"
    assert compared["figures"]["retention.map"]["difference"] == pytest.approx(-0.01)
    assert compared["figures"]["compatible.map"]["difference"] is None
    assert compared["figures"]["gain.map"] == {"baseline": None, "now": None, "difference": None}
    assert "--free" in compared["reasons"]["gain.map"]
    document = judged.as_dict()
    assert document["baseline"]["queries"]["query-encoder"] == compared
    assert document["gates"][0]["expression"] == "retention.map < baseline.retention.map - 0.005"
    assert found.as_dict().keys().isdisjoint({"baseline", "gates", "verification", "open_set"})


def test_without_gates_a_baseline_fails_nothing(found, older, make_images):
    judged = Release.plan(make_images(), SPACE, (), older / "report.json").judge(found)
    assert judged.gates is None
    require_gates(judged.gates or ())
    assert judged.baseline is not None


def test_other_counts_leave_the_baseline_undefined(found, older, make_images):
    release = Release.plan(make_images(), SPACE, ["nfr@1 > baseline.nfr@1 + 1"], older)
    (row,) = release.judge(replace(found, n_queries=58)).gates
    assert (row.met, row.holds) == (False, None)
    assert row.reasons["baseline.nfr@1"] == "the baseline report has n_queries 60, this one 58"


def test_other_images_left_out_leave_the_baseline_undefined(make_images, query_encoder, gallery_encoder, tmp_path):
    older = evaluate([query_encoder], gallery_encoder, make_images(broken=(3,))).as_dict()
    write_json(tmp_path / "report.json", older)
    release = Release.plan(make_images(), SPACE, ["nfr@1 > baseline.nfr@1 + 1"], tmp_path)
    for broken, holds in ((3, False), (7, None)):  # as many queries each time
        (row,) = release.judge(evaluate([query_encoder], gallery_encoder, make_images(broken=(broken,)))).gates
        assert (row.met, row.holds) == (holds is False, holds)
    assert row.reasons["baseline.nfr@1"] == "in the baseline report other images were left out"
    assert baseline_figures({**older, "settings": {}}, older, "query-encoder")["nfr@1"].value is None
    assert baseline_figures({**older, "settings": {"failures": 1}}, older, "query-encoder")["nfr@1"].value is None


def test_an_encoder_of_another_name_is_compared_with_the_first(found, older, make_images):
    verdicts = {"renamed": found.verdicts["query-encoder"]}
    judged = Release.plan(make_images(), SPACE, (), older).judge(replace(found, verdicts=verdicts))
    assert judged.baseline["queries"]["renamed"]["compared_with"] == "query-encoder"


def test_other_data_and_another_space_are_refused(older, make_images):
    for images in (make_images(59), make_images(labels=("x",) * 60), make_images(groups=("a",) * 60)):
        with pytest.raises(UsageError, match="the baseline report is of other data: observed 'fake:test', listing"):
            Release.plan(images, SPACE, (), older)
    Release.plan(make_images(name="moved"), SPACE, (), older)  # the same images under another name
    with pytest.raises(SpaceMismatch, match="the baseline report and the gallery encoder belong to different spaces"):
        Release.plan(make_images(), "sp_other", (), older)


def test_a_report_without_a_listing_is_known_by_the_name_of_its_data(older, make_images):
    baseline = read_baseline(older)
    del baseline["settings"]["listing"]
    check_baseline(baseline, make_images(), SPACE)
    with pytest.raises(UsageError, match="observed 'fake:test', expected 'other'"):
        check_baseline(baseline, make_images(name="other"), SPACE)


def test_what_is_no_report_is_refused(tmp_path, older, make_images):
    with pytest.raises(UsageError, match="is not an evaluation report"):
        read_baseline(tmp_path / "nowhere")
    write_json(tmp_path / "bench.json", {"schema": 1, "data": "x"})
    with pytest.raises(UsageError, match=r"bench\.json' is no evaluation report: observed no 'space'"):
        read_baseline(tmp_path / "bench.json")
    document = read_baseline(older)
    write_json(older / "report.json", {**document, "schema": 99})
    with pytest.raises(DamagedArtifact, match="another schema: observed 99"):
        read_baseline(older)


def test_the_baseline_is_not_overwritten(older, make_images):
    with pytest.raises(UsageError, match="the baseline report would be overwritten"):
        Release.plan(make_images(), SPACE, (), older / "report.json", out=older)


def test_the_listing_knows_keys_labels_groups_and_roles(make_images):
    roles = ("query", "gallery") * 30
    sets = [
        make_images(), make_images(59), make_images(labels=("x",) * 60), make_images(groups=("",) * 60),
        make_images(roles=roles), make_images(groups=roles),
    ]  # fmt: skip
    assert len({listing_of(images) for images in sets}) == len(sets)
    assert listing_of(make_images(name="moved")) == listing_of(make_images())


def test_figures_may_be_numpy_numbers():
    assert figures_of({"n_queries": np.float64(3)}, Q)["n_queries"].value == 3
