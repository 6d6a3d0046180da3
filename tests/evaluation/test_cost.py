from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hetsearch.evaluation.cost import cost_of
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
