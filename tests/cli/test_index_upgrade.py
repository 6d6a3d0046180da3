from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hetsearch.cli.index import app
from hetsearch.cli.search import search
from hetsearch.errors import SpaceMismatch, UsageError
from tests.pair import Pair, make_pair
from tests.support import OTHER_SPACE, SPACE


def run(*arguments: object) -> object:
    return app([str(word) for word in arguments], result_action="return_value", exit_on_error=False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, fashion_train: tuple[np.ndarray, np.ndarray]) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"), *fashion_train)


@pytest.fixture
def gallery(pair: Pair, fashion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    words = ("--encoder", pair.old.folder, "--images", fashion_folder, "--out", tmp_path / "g", "--limit", 50)
    assert run("build", *words) == 0
    capsys.readouterr()
    return tmp_path / "g"


def table(text: str) -> dict[str, str]:
    rows = (line.rsplit("  ", 1) for line in text.splitlines()[2:])
    return {name.strip(): value.strip() for name, value in rows}


def test_an_upgrade_from_the_switch_to_its_end(
    pair: Pair, gallery: Path, fashion_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The real pictures of the test slice, the pair that a user would have trained, the commands as they are typed."""
    new = ("--encoder", pair.new.folder)
    picture = next(iter(sorted(fashion_folder.rglob("*.png"))))
    assert run("upgrade", gallery, *new) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    rows = table(captured.out)
    assert (rows["space"], rows["can be rolled back to"], rows[f"vectors of {SPACE}"]) == (OTHER_SPACE, SPACE, "50")
    assert run("upgrade", gallery, *new) == 0
    assert "nothing to do" in capsys.readouterr().out
    search(str(picture), gallery=str(gallery), encoder=pair.new.folder, json=True)
    hits = json.loads(capsys.readouterr().out)["queries"][0]["hits"]
    assert {hit["item"]["space"] for hit in hits} == {SPACE}
    with pytest.raises(SpaceMismatch, match="which the gallery was upgraded from"):
        search(str(picture), gallery=str(gallery), encoder=pair.old.folder)
    back = ("upgrade", gallery, *new, "--backfill", "--order", "gain", "--json")
    assert run(*back, "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["to_embed"] == 50
    assert run(*back, "--share", 0.5, "--step", 10) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["share"], document["switches"], document["embedded"]) == (0.5, 3, 25)
    assert run("verify", gallery) in (None, 0)
    assert f"vectors of {SPACE}" in capsys.readouterr().out
    assert run(*back[:4], "--backfill") == 0
    assert table(capsys.readouterr().out)["share of its own space"] == "1.0000"
    with pytest.raises(UsageError, match="can still be rolled back"):
        run("compact", gallery)
    assert run("upgrade", gallery, "--commit") == 0
    assert table(capsys.readouterr().out)["can be rolled back to"] == "-"
    assert run("compact", gallery) in (None, 0)
    capsys.readouterr()
    search(str(picture), gallery=str(gallery), encoder=pair.new.folder, json=True, k=1)
    assert "space" not in json.loads(capsys.readouterr().out)["queries"][0]["hits"][0]["item"]


def test_the_way_back_says_what_it_lost(
    pair: Pair, gallery: Path, fashion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("upgrade", gallery, "--encoder", pair.new.folder) == 0
    (tmp_path / "more").mkdir()
    last = sorted(fashion_folder.rglob("*.png"))[-1]
    (tmp_path / "more" / "x.png").write_bytes(last.read_bytes())
    assert run("update", gallery, "--encoder", pair.new.folder, "--images", tmp_path / "more", "--keep") == 0
    capsys.readouterr()
    assert run("upgrade", gallery, "--rollback") == 0
    captured = capsys.readouterr()
    assert "1 items have no older vector and left" in captured.err
    assert table(captured.out)["space"] == SPACE


def test_items_that_are_not_listed_are_counted(
    pair: Pair, gallery: Path, fashion_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("upgrade", gallery, "--encoder", pair.new.folder) == 0
    capsys.readouterr()
    other = fashion_folder / "class-0"
    assert run("upgrade", gallery, "--encoder", pair.new.folder, "--backfill", "--images", other) == 0
    assert "50 items are not listed and keep their older vector" in capsys.readouterr().err


def test_what_is_asked_wrongly(pair: Pair, gallery: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--rollback and --commit exclude each other"):
        run("upgrade", gallery, "--rollback", "--commit")
    for words in (("--dry-run",), ("--share", 0.5), ("--images", tmp_path), ("--order", "gain")):
        with pytest.raises(UsageError, match=f"{words[0]} belongs to a back-fill"):
            run("upgrade", gallery, "--encoder", pair.new.folder, *words)
    for words in ((), ("--backfill",)):
        with pytest.raises(UsageError, match="the new gallery encoder is not named: expected --encoder BUNDLE"):
            run("upgrade", gallery, *words)
    lonely = tmp_path / "lonely" / "bundle"
    lonely.mkdir(parents=True)
    for path in pair.new.folder.iterdir():
        (lonely / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UsageError, match=r"no space beside .*lonely.*--space DIR"):
        run("upgrade", gallery, "--encoder", lonely)
    with pytest.raises(SpaceMismatch, match=f"does not declare .* {SPACE}"):
        run("upgrade", gallery, "--encoder", lonely, "--space", undeclared(pair, tmp_path))
    assert run("upgrade", gallery, "--encoder", lonely, "--space", pair.folder / "new") == 0


def undeclared(pair: Pair, tmp_path: Path) -> Path:
    """The new space without its record of the older one."""
    replace(pair.after, compatible_with=()).save(tmp_path / "undeclared")
    return tmp_path / "undeclared"
