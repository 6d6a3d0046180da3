"""The verdict on constructed per-query numbers."""

from __future__ import annotations

import numpy as np
import pytest

from hetsearch.bundle import BLEND
from hetsearch.evaluation.gates.figures import figures_of
from hetsearch.evaluation.result import METRICS
from hetsearch.evaluation.verdict import Paragon, flips_by_class, judge, paragon_of

N = 200


def constant(value):
    """The same for every query, but p@1, which is right or wrong, in the mean only."""
    same = {metric: np.full(N, float(value)) for metric in METRICS}
    return {**same, "p@1": correct(round(N * value))["p@1"]}


def correct(n_right):
    """Right for the first ``n_right`` queries, by every metric."""
    return {metric: (np.arange(N) < n_right).astype(float) for metric in METRICS}


def measured(values):
    return Paragon("measured, float32", {metric: float(row.mean()) for metric, row in values.items()}, values)


def judged(light, own, reference, free=None):
    return judge(light, own, reference, measured(reference), free)


def test_true_where_the_whole_interval_is_above_0():
    verdict = judged(correct(150), correct(100), correct(180), correct(120))
    for metric in METRICS:
        assert verdict.compatible[metric] is True
        assert verdict.useful[metric] is True
        found = verdict.differences["compatible"][metric]
        assert found["difference"] == pytest.approx(0.25)
        assert 0 < found["ci"][0] < 0.25 < found["ci"][1]
    assert verdict.reasons == {}


def test_false_where_the_whole_interval_is_below_0():
    verdict = judged(correct(100), correct(150), correct(180), correct(140))
    assert set(verdict.compatible.values()) == {False}
    assert set(verdict.useful.values()) == {False}


def test_null_where_the_interval_holds_0():
    verdict = judged(correct(101), correct(100), correct(180), correct(100))
    assert set(verdict.compatible.values()) == {None}
    assert verdict.reasons["compatible.map"].startswith("the 95 % interval of M(q,g) - M(q,q), [")
    assert verdict.reasons["useful.p@1"].endswith("holds 0")


def test_few_queries_decide_nothing():
    few = {metric: np.ones(3) for metric in METRICS}
    wrong = {metric: np.zeros(3) for metric in METRICS}
    verdict = judged(few, wrong, few)
    assert set(verdict.compatible.values()) == {None}
    assert verdict.reasons["compatible.map"] == "3 queries are too few for an interval; it takes 10"


def test_equal_is_not_compatible():
    verdict = judged(correct(100), correct(100), correct(100))
    assert set(verdict.compatible.values()) == {None}
    assert verdict.differences["compatible"]["map"] == {"difference": 0.0, "ci": [0.0, 0.0]}


def test_each_metric_is_judged_on_its_own():
    light, own = correct(100), correct(100)
    light["map"], own["p@1"] = correct(150)["map"], correct(150)["p@1"]
    verdict = judged(light, own, correct(180))
    assert verdict.compatible == {"p@1": False, "r@10": None, "map": True, "map@r": None}


def test_without_a_free_encoder_usefulness_and_gain_are_null_with_the_reason():
    verdict = judged(correct(150), correct(100), correct(180))
    assert set(verdict.useful.values()) == set(verdict.gain.values()) == {None}
    assert "--free" in verdict.reasons["useful"]
    assert "--free" in verdict.reasons["gain"]
    assert "useful" not in verdict.differences


def test_retention_and_gain_are_ratios_of_means():
    verdict = judged(constant(0.8), constant(0.7), constant(0.9), constant(0.6))
    for metric in METRICS:
        assert verdict.retention[metric] == pytest.approx(0.8 / 0.9)
        assert verdict.gain[metric] == pytest.approx((0.8 - 0.6) / (0.9 - 0.6))
    assert verdict.differences["retention"]["map"]["ci"] == pytest.approx([0.8 / 0.9] * 2)
    low, high = verdict.differences["retention"]["p@1"]["ci"]
    assert low < 0.8 / 0.9 < high


def test_a_recorded_paragon_is_the_denominator_but_flips_are_measured():
    recorded = Paragon("recorded, float32", dict.fromkeys(METRICS, 0.95), None)
    verdict = judge(correct(150), correct(100), correct(180), recorded, constant(0.5))
    assert verdict.retention["map"] == pytest.approx(0.75 / 0.95)
    assert verdict.gain["map"] == pytest.approx(0.25 / 0.45)
    low, high = verdict.differences["retention"]["map"]["ci"]
    assert low < 0.75 / 0.95 < high
    assert (verdict.nfr_at_1, verdict.pfr_at_1) == (30 / N, 0.0)


def test_flips_count_both_ways():
    light = {**correct(100), "p@1": np.roll(correct(100)["p@1"], 20)}
    verdict = judged(light, correct(100), correct(100))
    assert (verdict.nfr_at_1, verdict.pfr_at_1) == (20 / N, 20 / N)


def test_flips_of_each_class_the_worst_first():
    rng = np.random.default_rng(8)
    reference, light = (rng.integers(0, 2, N).astype(float) for _ in range(2))
    labels = rng.choice(["a", "b", "c"], N)
    flips = flips_by_class(reference, light, labels)
    assert sorted(flips) == ["a", "b", "c"]
    rates = [row.nfr_at_1 for row in flips.values()]
    assert rates == sorted(rates, reverse=True)
    for label, row in flips.items():
        pairs = [(b, n) for b, n, own in zip(reference, light, labels, strict=True) if own == label]
        assert row.n == len(pairs)
        assert row.nfr_at_1 == pytest.approx(sum(b > n for b, n in pairs) / len(pairs), abs=1e-12)
        assert row.delta == pytest.approx(row.pfr_at_1 - row.nfr_at_1, abs=1e-12)  # ΔR@1 = PFR - NFR
    verdict = judge({**correct(0), "p@1": light}, correct(0), {**correct(9), "p@1": reference}, measured(correct(9)),
                    None, labels)  # fmt: skip
    assert verdict.flips == flips
    weighted = sum(row.n * row.nfr_at_1 for row in flips.values()) / N
    assert verdict.nfr_at_1 == pytest.approx(weighted, abs=1e-12)
    document = verdict.as_dict()
    assert list(document["flips"]["a"]) == ["n", "nfr@1", "pfr@1", "delta_r@1", "M(g,g)", "M(q,g)"]
    assert document["delta_r@1"] == pytest.approx(light.mean() - reference.mean(), abs=1e-12)


def test_what_cannot_be_divided_is_null_with_the_reason():
    verdict = judged(constant(0.5), constant(0.4), constant(0.6), constant(0.6))
    assert set(verdict.gain.values()) == {None}
    assert verdict.reasons["gain.map"] == "M(q*,q*) 0.6000 is not below M(g,g) 0.6000: nothing to gain"
    verdict = judged(constant(0.5), constant(0.4), constant(0.0))
    assert set(verdict.retention.values()) == {None}
    assert verdict.reasons["retention.map"] == "M(g,g) is 0"


def test_an_interval_that_is_undefined_is_null_with_the_reason():
    verdict = judged(correct(1), correct(1), correct(1))  # without its one right query, M(g,g) is 0 in a draw
    assert verdict.retention["map"] == 1.0
    assert verdict.differences["retention"]["map"] == {"ratio": 1.0, "ci": None}
    assert verdict.reasons["retention.map.ci"] == "M(g,g) is 0 in some draws of queries"
    figures = figures_of({"verdicts": {"q": verdict.as_dict()}}, "q")
    assert figures["retention.map.low"] == (None, "M(g,g) is 0 in some draws of queries")


RECORD = {"data": "fake:test", "n_queries": N, "metrics": dict.fromkeys(METRICS, 0.97)}


def test_the_paragon_of_a_float32_encoder_is_measured(make_encoder):
    card = make_encoder("g", numbers={"paragon": RECORD}).card
    paragon = paragon_of(card, "fake:test", correct(150))
    assert paragon.as_dict() == {"source": "measured, float32", "metrics": dict.fromkeys(METRICS, 0.75)}


def test_the_paragon_of_another_precision_is_the_record(make_encoder):
    card = make_encoder("g", precision="int8-weights", numbers={"paragon": RECORD}).card
    paragon = paragon_of(card, "fake:test", correct(150))
    assert paragon.as_dict() == {"source": "recorded, float32", "metrics": dict.fromkeys(METRICS, 0.97)}
    assert paragon.values is None


@pytest.mark.parametrize("precision", ["float32", "int8-weights"])
def test_the_paragon_of_a_blend_is_the_record_of_its_gallery_encoder(make_encoder, precision):
    card = make_encoder("b", precision=precision, numbers={"paragon": RECORD}).card
    blend = card.model_copy(update={"architecture": BLEND})
    paragon = paragon_of(blend, "fake:test", correct(150))
    assert paragon.as_dict() == {"source": "recorded, float32, unblended", "metrics": dict.fromkeys(METRICS, 0.97)}
    assert paragon_of(blend, "fake:validation", correct(150)).as_dict() == {
        "source": "measured, blend", "metrics": dict.fromkeys(METRICS, 0.75),
    }  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        None,
        {**RECORD, "data": "fake:validation"},
        {**RECORD, "n_queries": N + 1},
        {**RECORD, "metrics": {"p@1": 0.97}},
        {**RECORD, "metrics": dict.fromkeys(METRICS, None)},
        {**RECORD, "metrics": dict.fromkeys(METRICS, 97.0)},
    ],
)
def test_a_record_of_something_else_does_not_count(make_encoder, record):
    card = make_encoder("g", precision="int8-weights", numbers={"paragon": record}).card
    paragon = paragon_of(card, "fake:test", correct(150))
    assert paragon.source == "measured, int8-weights"
    assert paragon.metrics["map"] == 0.75
