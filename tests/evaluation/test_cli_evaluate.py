"""``hetsearch evaluate`` around the room: flags, streams, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclopts import App

from hetsearch.cli import app
from hetsearch.cli.evaluate import evaluate
from hetsearch.errors import GateNotMet, SpaceMismatch, UsageError


@pytest.fixture
def run(monkeypatch, make_images, query_encoder, gallery_encoder, free_encoder):
    """Runs the command line on encoders by path and one set of images; returns the exit code."""
    encoders = {
        encoder.name: encoder for encoder in (query_encoder, gallery_encoder, free_encoder)
    }

    def run(*words, images=None):
        source = make_images() if images is None else images
        monkeypatch.setattr(
            "hetsearch.runtime.load_encoder", lambda path, threads=1: encoders[Path(path).name]
        )
        monkeypatch.setattr("hetsearch.data.sources.open_source", lambda name: source)
        app = App(name="hetsearch", result_action="return_value")
        app.command(evaluate)
        return app(["evaluate", *words], exit_on_error=False, print_error=False)

    return run


PLAIN = ("--query", "zoo/query-encoder", "--gallery", "zoo/gallery-encoder", "--data", "fake:test")


def test_json_is_the_only_thing_on_stdout(run, capsys):
    assert run(*PLAIN, "--free", "zoo/free-encoder", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["data"] == "fake:test"
    assert list(document["verdicts"]) == ["query-encoder"]
    assert document["encoders"]["free-encoder"]["role"] == "free"


def test_without_json_a_table_and_the_verdict_in_words(run, capsys):
    assert run(*PLAIN) == 0
    told = capsys.readouterr().out
    assert "heterogeneous" in told
    assert "compatible by map: " in told
    assert "retention by p@1: " in told


def test_several_query_encoders_after_one_flag(run, capsys):
    assert run("--query", "a/query-encoder", "b/query-encoder", *PLAIN[2:], "--json") == 0
    assert list(json.loads(capsys.readouterr().out)["verdicts"]) == ["query-encoder", "query-encoder-2"]


def test_free_may_be_given_several_times(run, capsys):
    assert run(*PLAIN, "--free", "a/free-encoder", "--free", "b/free-encoder", "--json") == 0
    matrix = json.loads(capsys.readouterr().out)["matrix"]
    assert [row["query"] for row in matrix if row["kind"] == "baseline"] == ["free-encoder", "free-encoder-2"]


def test_out_writes_the_report_and_names_it_on_stderr(run, capsys, tmp_path):
    assert run(*PLAIN, "--json", "--out", str(tmp_path)) == 0
    told = capsys.readouterr()
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == json.loads(told.out)
    assert f"wrote {tmp_path / 'matrix.csv'}" in told.err


def test_unreadable_images_are_named_and_give_3(run, capsys, make_images):
    assert run(*PLAIN, "--json", images=make_images(broken=(3,))) == 3
    assert "left out image 003: the image is empty" in capsys.readouterr().err


def test_another_space_gives_4(run):
    with pytest.raises(SpaceMismatch, match="belong to different spaces") as error:
        run("--query", "zoo/free-encoder", *PLAIN[2:])
    assert error.value.exit_code == 4


def test_a_gate_that_is_met_changes_nothing(run, capsys):
    assert run(*PLAIN, "--fail-if", "retention.map < 0.01", "--fail-if", "nfr@1 > 0.9 or worst.nfr@1 > 1") == 0
    told = capsys.readouterr().out
    assert "met     query-encoder: 'retention.map < 0.01' does not hold; retention.map " in told
    assert "NOT MET" not in told


def test_a_gate_that_is_not_met_gives_4_after_the_report(run, capsys, tmp_path):
    with pytest.raises(GateNotMet, match=r"'nfr@1 < 1' is not met by 'query-encoder'.*expected nfr@1 >= 1") as error:
        run(*PLAIN, "--fail-if", "nfr@1 < 1", "--out", str(tmp_path), "--json")
    assert error.value.exit_code == 4
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert document["gates"][0]["met"] is False
    assert "What it was held against" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_gate_on_an_undefined_figure_gives_4_with_the_reason(run):
    with pytest.raises(GateNotMet, match=r"gain\.map undefined \(no free encoder was given"):
        run(*PLAIN, "--fail-if", "gain.map < 0.1")


def test_what_cannot_work_is_told_before_anything_is_embedded(run, tmp_path, query_encoder, gallery_encoder):
    for words, message in (
        (("--fail-if", "retention.mapp < 1"), "Nearest known: 'retention.map'"),
        (("--fail-if", "nfr@1[class 9] > 0"), r"'nfr@1\[class 0\]'"),
        (("--baseline", str(tmp_path)), "is not an evaluation report"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            run(*PLAIN, *words)
        assert error.value.exit_code == 2
    assert query_encoder.seen == gallery_encoder.seen == 0


def test_against_a_baseline(run, capsys, tmp_path):
    assert run(*PLAIN, "--out", str(tmp_path)) == 0
    capsys.readouterr()
    report = tmp_path / "report.json"
    assert run(*PLAIN, "--baseline", str(report), "--fail-if", "nfr@1 > baseline.nfr@1") == 0
    told = capsys.readouterr().out
    assert f"against the baseline {report}:" in told
    assert "+0.0000" in told
    assert run(*PLAIN, "--baseline", str(report), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["baseline"]["queries"]["query-encoder"]["figures"]["retention.map"]["difference"] == 0


def test_verification_and_open_set_are_opt_in(run, capsys, make_images):
    labels = tuple(f"alone {row}" if row < 12 else f"class {row % 4}" for row in range(60))
    words = ("--verification", "--open-set", "--fail-if", "M(q,g).tar@1e-1 < 0 or M(q,g).tpir@1e-1 < 0")
    assert run(*PLAIN, *words, images=make_images(labels=labels)) == 0
    told = capsys.readouterr().out
    assert "verification, queries by query-encoder, items by gallery-encoder:" in told
    assert "tar@1e-6 undefined: " in told
    assert "48 mated probes, 12 non mated probes" in told
    assert run(*PLAIN, "--json", images=make_images(labels=labels)) == 0
    assert "verification" not in json.loads(capsys.readouterr().out)


def test_the_help_says_that_gallery_names_an_encoder_and_what_a_gate_may_name(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    app(["evaluate", "--help"], result_action="return_value")  # as registered: that is what a user sees
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "The gallery ENCODER: a bundle, not a folder of vectors." in told
    for name in ("retention", "M(q*,q*)", "worst.nfr@1", "nfr@1[CLASS]", "q.latency_ms", "defined(NAME)"):
        assert name in told
