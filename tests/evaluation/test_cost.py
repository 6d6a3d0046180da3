from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from hetsearch.evaluation.cost import cost_of, median_ms
from hetsearch.evaluation.result import NO_FILE


def test_an_encoder_without_a_file_has_neither_bytes_nor_latency(query_encoder):
    row = cost_of(query_encoder, "query")
    assert (row.role, row.space, row.precision) == ("query", query_encoder.space, "float32")
    assert (row.params, row.macs) == (query_encoder.card.params, query_encoder.card.macs)
    assert row.as_dict()["reasons"] == dict.fromkeys(("bytes", "latency_ms"), NO_FILE)
    assert (row.bytes, row.latency_ms) == (None, None)


def test_a_bundle_is_measured_in_a_session_of_one_thread(query_encoder, tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_bytes(b"x" * 321)
    asked = []

    def load(path, *, threads, verify):
        asked.append((path, threads, verify))
        return query_encoder

    @dataclass
    class Bundle:
        card: object
        space: str
        folder: Path

    monkeypatch.setattr("hetsearch.runtime.onnx_encoder.load_encoder", load)
    row = cost_of(Bundle(query_encoder.card, query_encoder.space, tmp_path), "gallery")
    assert row.role == "gallery"
    assert row.bytes == 321
    assert row.latency_ms > 0
    assert asked == [(tmp_path, 1, False)]


def test_median_of_timed_calls(monkeypatch):
    # Start of the limit; then per call: limit, start, end. Calls take 5, 1 and 3 ms.
    ticks = iter([0.0, 1.000, 1.005, 1.1, 2.000, 2.001, 2.1, 3.000, 3.003])
    monkeypatch.setattr("hetsearch.evaluation.cost.time.perf_counter", lambda: next(ticks))
    calls = []
    assert median_ms(lambda: calls.append(1), runs=3, seconds=10) == pytest.approx(3.0)
    assert len(calls) == 4  # one to get warm


def test_a_slow_network_is_timed_at_least_once():
    assert median_ms(lambda: None, runs=5, seconds=0.0) >= 0
