from __future__ import annotations

from dataclasses import replace

import pytest

from hetsearch.evaluation import evaluate
from hetsearch.evaluation.report.words import HEADER, matrix_table, verdict_lines


@pytest.fixture
def found(make_images, query_encoder, gallery_encoder, free_encoder):
    return evaluate([query_encoder], gallery_encoder, make_images(), [("free-encoder", free_encoder)])


def test_the_table_has_a_row_for_each_cell(found):
    rows = matrix_table(found)
    assert len(rows) == len(found.matrix)
    assert all(len(row) == len(HEADER) for row in rows)
    assert rows[0][:3] == ["gallery-encoder", "gallery-encoder", "paragon"]
    assert rows[2][HEADER.index("map")] == f"{found.matrix[2].metrics['map']:.4f}"


def test_absolute_figures_stand_beside_ratios(found):
    lines = verdict_lines(found)
    light, ceiling = found.matrix[2].metrics["map"], found.matrix[0].metrics["map"]
    assert lines[0] == "fake:test: 60 queries against 60 items"
    retention = next(line for line in lines if "retention by map" in line)
    assert retention.endswith(
        f"{light / ceiling:.4f} = M(q,g) {light:.4f} / M(g,g) {ceiling:.4f} (measured, float32)"
    )
    gain = next(line for line in lines if "gain by map" in line)
    assert f"from M(q*,q*) {found.matrix[3].metrics['map']:.4f} to M(g,g) {ceiling:.4f}" in gain
    assert any(line.startswith("  cost: 768 parameters against 768; 768 MACs against 768") for line in lines)


def test_answers_are_words(found):
    verdict = found.verdicts["query-encoder"]
    for answer, word in ((True, "yes"), (False, "no"), (None, "open")):
        judged = replace(verdict, compatible=dict.fromkeys(verdict.compatible, answer))
        lines = verdict_lines(replace(found, verdicts={"query-encoder": judged}))
        assert any(line.startswith(f"  compatible by map: {word}; M(q,g) 0.") for line in lines)


def test_without_a_free_encoder_the_reason_is_told(make_images, query_encoder, gallery_encoder):
    lines = verdict_lines(evaluate([query_encoder], gallery_encoder, make_images()))
    assert any(line.startswith("  useful by map: open; no free encoder was given (--free)") for line in lines)
    assert not any("gain by" in line for line in lines)


def test_queries_left_out_and_costs_that_differ(found):
    light, heavy = found.encoders["query-encoder"], found.encoders["gallery-encoder"]
    encoders = {
        **found.encoders,
        "query-encoder": replace(light, bytes=500, latency_ms=0.25),
        "gallery-encoder": replace(heavy, params=7680, bytes=100_000, latency_ms=20.0),
    }
    lines = verdict_lines(replace(found, encoders=encoders, n_without_positives=3))
    assert lines[0].endswith("; 3 queries without a relevant item left out")
    assert lines[-1] == (
        "  cost: 768 parameters against 7,680 (10.0 times fewer); 768 MACs against 768; "
        "500 bytes against 100,000 (200.0 times fewer); 0.25 ms an image against 20.00 ms on one thread"
    )
