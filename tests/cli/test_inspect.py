from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclopts import App

from hetsearch.cli.inspect import inspect
from hetsearch.errors import UsageError
from tests.support import SPACE, linear_bundle

app = App(name="hetsearch")
app.command(inspect)


def run(*arguments: object) -> object:
    return app(["inspect", *map(str, arguments)], result_action="return_value", exit_on_error=False)


def test_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = linear_bundle(tmp_path / "b", space=SPACE)
    assert run(bundle) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for words in (["space", SPACE], ["dim", "16"], ["params", "12,560"], ["model.onnx", "ok"]):
        assert words in lines
    assert run(bundle, "--json") == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "encoder bundle"


def test_a_changed_file_gives_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = linear_bundle(tmp_path / "b", space=SPACE)
    (bundle / "model.onnx").write_bytes(b"")
    assert run(bundle) == 1
    assert ["model.onnx", "changed"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_matrix_of_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"query": "q", "gallery": "g", "map": 0.82811, "map_ci": [0.8, 0.9]}
    document = {"data": "set", "n_queries": 12000, "matrix": [row], "verdict": {"useful": {"map": None}}}
    (tmp_path / "report.json").write_text(json.dumps(document))
    assert run(tmp_path / "report.json") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for words in (["n_queries", "12,000"], ["query", "gallery", "map"], ["q", "g", "0.8281"]):
        assert words in lines


def test_a_report_is_shown_without_a_word_of_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder = {"role": "query", "space": SPACE, "params": 115207, "latency_ms": 0.105694, "reasons": {}}
    flips = {name: {"n": 1000, "nfr@1": 0.1 + number} for number, name in enumerate(("Shirt", "Coat"))}
    verdict = {"compatible": {"p@1": None, "map": True}, "nfr@1": 0.0475, "gain": {}, "flips": flips}
    rows = [{"query": "q", "gallery": "g", "map": None}]
    settings = {
        "versions": {"numpy": "2"}, "left_out": [], "failures": [{"key": "a"}], "parity": 6.37e-07, "ties": "x" * 111
    }  # fmt: skip
    document = {"encoders": {"q": encoder}, "matrix": rows, "verdict": verdict, "settings": settings}
    (tmp_path / "report.json").write_text(json.dumps(document))
    assert run(tmp_path) == 0
    out = capsys.readouterr().out
    for mark in ("{", "[", "'", "None", "True"):
        assert mark not in out
    assert [line.rstrip() for line in out.splitlines()[2:]] == [
        "encoders",
        f"  q                   role query, space {SPACE}, params 115,207, latency_ms 0.1057",
        "verdict",
        "  compatible          p@1 null, map true",
        "  nfr@1               0.0475",
        "  flips               Shirt.n 1,000, Shirt.nfr@1 0.1, Coat.n 1,000, Coat.nfr@1 1.1",
        "settings",
        "  versions            numpy 2",
        "  failures            1 entries",
        "  parity              6.37e-07",
        f"  ties                {'x' * 109}…",
        "",
        "query  gallery   map",
        "-----  -------  ----",
        "q            g  null",
    ]


def test_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing that hetsearch knows"):
        run(tmp_path)
