from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cyclopts import App

from hetsearch.cli.index import app as index
from hetsearch.cli.search import search
from hetsearch.data.sources import open_source
from hetsearch.errors import ImageError, SpaceMismatch, UsageError
from hetsearch.gallery import build_gallery
from hetsearch.runtime import load_encoder
from tests.support import OTHER_SPACE, SPACE, linear_bundle

app = App(name="hetsearch")
app.command(search)


def run(*arguments: object) -> object:
    return app(["search", *map(str, arguments)], result_action="return_value", exit_on_error=False)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return linear_bundle(tmp_path / "bundle", space=SPACE)


@pytest.fixture
def gallery(bundle: Path, fashion_folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "gallery"
    build_gallery(load_encoder(bundle), open_source(str(fashion_folder)), out, limit=30, progress=False)
    return out


@pytest.fixture
def pictures(fashion_folder: Path) -> list[Path]:
    return [fashion_folder / key for key in open_source(str(fashion_folder)).keys[:2]]


def test_a_table_for_each_picture(
    bundle: Path, gallery: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--gallery", gallery, "--encoder", bundle, *pictures, "-k", 3) in (None, 0)
    tables = capsys.readouterr().out.split("\n\n")
    assert len(tables) == 2
    for picture, table in zip(pictures, tables, strict=True):
        lines = table.splitlines()
        assert lines[0].startswith(str(picture))
        assert lines[0].split()[-4:] == ["hit", "score", "label", "path"]
        assert len(lines) == 5
        assert lines[2].split()[:3] == [f"{picture.parent.name}/{picture.name}", "1", "1.0000"]


def test_json_is_one_document(
    bundle: Path, gallery: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(pictures[0], "--gallery", gallery, "--encoder", bundle, "--json") in (None, 0)
    document = json.loads(capsys.readouterr().out)
    assert (document["space"], document["k"], len(document["queries"])) == (SPACE, 10, 1)
    hits = document["queries"][0]["hits"]
    assert len(hits) == 10
    assert hits[0]["item"] == {"label": pictures[0].parent.name, "path": str(pictures[0])}


def test_vectors_find_what_pictures_find(
    bundle: Path, gallery: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "v.npy", load_encoder(bundle).encode(pictures).vectors)
    run("--gallery", gallery, "--vectors", tmp_path / "v.npy", "--space", SPACE, "--json")
    by_vectors = json.loads(capsys.readouterr().out)["queries"]
    run(*pictures, "--gallery", gallery, "--encoder", bundle, "--json")
    by_pictures = json.loads(capsys.readouterr().out)["queries"]
    assert [query["hits"] for query in by_vectors] == [query["hits"] for query in by_pictures]
    with pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}"):
        run("--gallery", gallery, "--vectors", tmp_path / "v.npy", "--space", OTHER_SPACE)


def test_a_k_above_the_gallery_warns_and_a_k_of_0_is_refused(
    bundle: Path, gallery: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = (pictures[0], "--gallery", gallery, "--encoder", bundle)
    assert run(*words, "-k", 99, "--json") in (None, 0)
    captured = capsys.readouterr()
    assert len(json.loads(captured.out)["queries"][0]["hits"]) == 30
    assert "hetsearch: warning: k is 99, but the gallery has 30 items" in captured.err
    with pytest.raises(UsageError, match="k is too small"):
        run(*words, "-k", 0)


def test_refusals(bundle: Path, gallery: Path, pictures: list[Path], tmp_path: Path) -> None:
    other = linear_bundle(tmp_path / "other", space=OTHER_SPACE)
    with pytest.raises(SpaceMismatch, match=f"observed {OTHER_SPACE}, expected {SPACE}"):
        run(pictures[0], "--gallery", gallery, "--encoder", other)
    (tmp_path / "empty.png").touch()
    with pytest.raises(ImageError, match=r"empty\.png"):
        run(tmp_path / "empty.png", "--gallery", gallery, "--encoder", bundle)
    for words, message in (
        (("--encoder", bundle), "nothing to search with"),
        ((pictures[0],), "pictures need an encoder"),
        ((pictures[0], "--vectors", "v.npy", "--space", SPACE), "exclude each other"),
        (("--vectors", "v.npy"), "vectors need their space"),
        (("--vectors", "v.npy", "--space", SPACE, "--encoder", bundle), "vectors need no encoder"),
        ((pictures[0], tmp_path / "no.png", "--encoder", bundle), r"there is no picture .*no\.png"),
    ):
        with pytest.raises(UsageError, match=message):
            run("--gallery", gallery, *words)


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(
    bundle: Path, gallery: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.png").touch()
    words = (pictures[0], tmp_path / "empty.png", pictures[1], "--gallery", gallery, "--encoder", bundle, "--json")
    assert run(*words) == 3
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert [query["query"] for query in document["queries"]] == [str(picture) for picture in pictures]
    assert [failure["key"] for failure in document["failures"]] == [str(tmp_path / "empty.png")]
    assert "empty.png" in captured.err
    (tmp_path / "other.png").touch()
    with pytest.raises(ImageError, match="no picture can be read"):
        run(tmp_path / "empty.png", tmp_path / "other.png", "--gallery", gallery, "--encoder", bundle)


def test_a_gallery_in_milvus(
    bundle: Path, gallery: Path, fashion_folder: Path, pictures: list[Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pytest.importorskip("milvus_lite")
    words = ("--encoder", bundle, "--images", fashion_folder, "--out", tmp_path / "m", "--limit", 30)
    index(["build", *map(str, words), "--store", "milvus"], result_action="return_value", exit_on_error=False)
    assert "milvus Flat" in capsys.readouterr().out
    found = []
    for place in (gallery, tmp_path / "m"):
        assert run(*pictures, "--gallery", place, "--encoder", bundle, "--json") == 0
        found.append(json.loads(capsys.readouterr().out)["queries"])
    assert found[0] == found[1]


def test_the_address_of_a_gallery_stays_as_it_is(bundle: Path, pictures: list[Path], milvus_server: str) -> None:
    with pytest.raises(UsageError, match=f"no gallery 'nothing' in the Milvus at '{milvus_server}'"):
        run(*pictures, "--gallery", f"{milvus_server}/nothing", "--encoder", bundle)
