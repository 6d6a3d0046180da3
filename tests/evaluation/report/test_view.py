from __future__ import annotations

from dataclasses import replace

import pytest

from hetsearch.evaluation.report.view import (
    Claim,
    ceiling_of,
    flat,
    headline,
    milliseconds,
    number,
    percent,
    reasons_of,
    rows_of,
    size,
    subjects_of,
    symbols_of,
)
from tests.evaluation.made import CEILING, FIGURES, F, G, Q, evaluation, thumbnail, verdict


def claims(*answers: tuple[bool | None, bool | None], free: bool = True) -> tuple[Claim, ...]:
    found = {"heterogeneous": 0.9} | ({"baseline": 0.8} if free else {})
    return tuple(
        Claim(metric, compatible, useful, None, None, None, found)
        for metric, (compatible, useful) in zip(("map", "p@1", "r@10"), answers, strict=False)
    )


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (((True, True), (True, True)), "Compatible and useful by mAP and by P@1"),
        (((False, False), (False, False)), "Neither compatible nor useful by mAP and by P@1"),
        (((None, None), (None, None)), "Compatibility and usefulness undecided by mAP and by P@1"),
        (((True, True), (None, None)), "Compatible and useful by mAP, undecided by P@1"),
        (((True, True), (None, True)), "Compatible by mAP, undecided by P@1; useful by mAP and by P@1"),
        (((None, True), (True, False)), "Compatibility undecided by mAP, compatible by P@1; "
                                        "useful by mAP, not useful by P@1"),
        (((True, True), (True, True), (False, False)), "Compatible and useful by mAP and by P@1"),
        ((), "No verdict"),
    ],
)  # fmt: skip
def test_the_headline_says_both_claims_by_both_metrics(answers, words) -> None:
    assert headline(claims(*answers)) == words


def test_the_headline_without_a_free_encoder() -> None:
    assert headline(claims((True, None), (None, None), free=False)) == (
        "Compatible by mAP, undecided by P@1; usefulness not tested"
    )


def test_a_subject_holds_the_figures_of_the_evaluation() -> None:
    (subject,) = subjects_of(evaluation())
    assert [claim.metric for claim in subject.claims] == ["map", "p@1", "r@10", "map@r"]
    first = subject.claims[0]
    assert first.found == {
        "paragon": CEILING["map"],  # the float32 one, not the row that was measured with int8 weights
        "homogeneous": FIGURES[Q, Q, "homogeneous"][2],
        "heterogeneous": FIGURES[Q, G, "heterogeneous"][2],
        "baseline": FIGURES[F, F, "baseline"][2],
    }
    assert first.retention == verdict().retention["map"]
    assert first.retention_ci == (0.9871, 1.0042)
    assert [(saving.factor, saving.what) for saving in subject.savings] == [
        ("110×", "fewer MACs"), ("206×", "fewer parameters"), ("45×", "smaller file"), ("56×", "faster, one thread"),
    ]  # fmt: skip
    assert subject.savings[2].figures == "532 kB against 24.1 MB"


def test_differences_are_told_by_claim_and_metric() -> None:
    (subject,) = subjects_of(evaluation())
    assert [(d.claim, d.metric) for d in subject.differences[:2]] == [("compatible", "map"), ("compatible", "p@1")]
    assert len(subject.differences) == 8
    assert [d.decided for d in subject.differences[:2]] == [True, False]
    (without,) = subjects_of(evaluation(verdicts={Q: replace(verdict(), differences={})}))
    assert without.differences == ()
    assert without.claims[0].retention_ci is None


def test_a_larger_query_encoder_is_told_as_more() -> None:
    whole = evaluation()
    swapped = {**whole.encoders, Q: replace(whole.encoders[Q], macs=580_229_120, latency_ms=None, bytes=None)}
    (subject,) = subjects_of(replace(whole, encoders=swapped))
    assert [(saving.factor, saving.what) for saving in subject.savings] == [
        ("2.0×", "more MACs"), ("206×", "fewer parameters"), ("–", "smaller file"), ("–", "faster, one thread"),
    ]  # fmt: skip
    assert subject.savings[2].figures == "no file against 24.1 MB"
    assert subject.savings[3].figures == "not measured against 21.4 ms"


def test_the_first_free_encoder_is_the_baseline() -> None:
    whole = evaluation()
    other = replace(whole.matrix[3], query="other", gallery="other", metrics=dict.fromkeys(CEILING, 0.5))
    (subject,) = subjects_of(replace(whole, matrix=(*whole.matrix, other)))
    assert subject.claims[0].found["baseline"] == FIGURES[F, F, "baseline"][2]


def test_symbols() -> None:
    whole = evaluation()
    assert symbols_of(whole) == {G: "g", Q: "q", F: "q*"}
    two = replace(whole, encoders={**whole.encoders, "second": whole.encoders[Q]})
    assert symbols_of(two) == {G: "g", Q: "q₁", "second": "q₂", F: "q*"}


def test_failures_come_first_and_every_hit_is_judged() -> None:
    failed, right = rows_of(evaluation(), Q, thumbnail)
    assert failed.failed is True
    assert failed.query.key == "test/00042"
    assert [hit.right for hit in failed.hits] == [False, True, True, False, True]
    assert right.failed is False
    assert right.query.uri is not None
    assert right.query.uri.startswith("data:image/png;base64,")
    assert right.query.tiny


def test_pictures_that_cannot_be_shown() -> None:
    for content in (None, b"", b"<svg onload='alert(1)'/>"):
        (row, _) = rows_of(evaluation(), Q, lambda key, content=content: content)
        assert row.query.uri is None
    (row, _) = rows_of(evaluation(), Q, lambda key: b"\xff\xd8\xff\xe0 a JPEG")
    assert row.query.uri == "data:image/jpeg;base64,/9j/4CBhIEpQRUc="
    assert not row.query.tiny


def test_rows_without_labels_without_hits_and_without_a_query_encoder() -> None:
    whole = evaluation()
    first, _ = whole.examples[Q]
    bare = replace(first, label="", hits=(("a", "", 0.5),))
    none = replace(first, hits=())
    rows = rows_of(replace(whole, examples={Q: (bare, none)}), Q, thumbnail)
    assert [row.failed for row in rows] == [None, None]
    assert rows[0].hits[0].right is None
    assert rows_of(whole, None, thumbnail) == ()
    assert rows_of(whole, "unknown", thumbnail) == ()


def test_reasons_name_what_was_not_measured() -> None:
    whole = evaluation()
    assert [name for name, _ in reasons_of(whole)] == ["compatible.p@1"]
    bare = replace(whole, encoders={**whole.encoders, Q: replace(whole.encoders[Q], bytes=None, latency_ms=None)})
    assert {f"{Q}: bytes", f"{Q}: latency_ms"} <= dict(reasons_of(bare)).keys()
    two = replace(whole, verdicts={Q: verdict(), "second": verdict()})
    assert [name for name, _ in reasons_of(two)] == [f"{Q}: compatible.p@1", "second: compatible.p@1"]


def test_the_ceiling() -> None:
    assert ceiling_of(evaluation()) == CEILING
    assert ceiling_of(evaluation(paragon={})) == {}


def test_nested_settings_become_lines() -> None:
    nested = {"a": {"b": 1, "c": {"d": None}}, "e": [], "f": ["x", 2], "g": [{"key": "k", "reason": "r"}], "h": True}
    assert list(flat(nested)) == [
        ("a · b", "1"), ("a · c · d", "–"), ("e", "none"), ("f", "x; 2"), ("g", "k: r"), ("h", "yes"),
    ]  # fmt: skip


def test_numbers_for_a_person() -> None:
    assert [number(0.5), number(-0.00123, True), number(0.0, True), number(None), number(float("nan"))] == [
        "0.5000", "−0.0012", "+0.0000", "–", "–",
    ]  # fmt: skip
    assert [percent(0.9961), percent(None)] == ["99.6 %", "–"]
    assert [size(None), size(999), size(531_992), size(24_112_038)] == ["no file", "999 B", "532 kB", "24.1 MB"]
    assert [milliseconds(None), milliseconds(0.381), milliseconds(21.43)] == ["not measured", "0.38 ms", "21.4 ms"]
