"""``hetsearch evaluate`` around the room: flags, streams, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclopts import App

from hetsearch.cli.evaluate import evaluate
from hetsearch.errors import SpaceMismatch


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


def test_the_help_says_that_gallery_names_an_encoder(run, capsys):
    run("--help")
    assert "gallery encoder's bundle" in " ".join(capsys.readouterr().out.replace("│", " ").split())
