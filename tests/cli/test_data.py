from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from hetsearch.cli.data import app
from hetsearch.errors import DataError


def run(*arguments: str) -> object:
    return app(list(arguments), result_action="return_value", exit_on_error=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Bag/a.png", "Bag/b.png", "Ankle boot/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (5, 4), len(name)).save(tmp_path / name)
    return tmp_path


def test_check_of_a_sound_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", str(folder)) == 0
    out = capsys.readouterr().out
    assert f"{folder}: 3 images, 0 unreadable" in out
    assert "smallest: 5 × 4 pixels, Ankle boot/c.png" in out
    assert ["Bag", "2"] in [line.split() for line in out.splitlines()]
    assert "the same bytes: 1\n  Bag/a.png = Bag/b.png" in out


def test_check_with_an_unreadable_image_gives_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Bag" / "d.png").touch()
    assert run("check", str(folder)) == 3
    out = capsys.readouterr().out
    assert "3 images" not in out
    assert "4 images, 1 unreadable" in out
    assert "unreadable: 1\n  Bag/d.png: " in out


def test_check_as_json_is_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Bag" / "d.png").touch()
    assert run("check", str(folder), "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert document["classes"] == {"Ankle boot": 1, "Bag": 3}
    assert [failure["key"] for failure in document["unreadable"]] == ["Bag/d.png"]


def test_long_lists_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for position in range(12):
        (tmp_path / f"{position:02d}.png").touch()
    assert run("check", str(tmp_path)) == 3
    out = capsys.readouterr().out
    assert "  09.png: " in out
    assert "  10.png: " not in out
    assert "… and 2 more" in out


def test_check_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no source"):
        run("check", str(tmp_path / "absent"))


def test_fetch_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, Path | None]] = []

    def fake(name: str, out: Path | None, *, tell: object) -> Path:
        asked.append((name, out))
        return tmp_path / name

    monkeypatch.setattr("hetsearch.data.fetch.fetch", fake)
    run("fetch", "fashion-mnist")
    run("fetch", "mnist", "--out", "data")
    assert asked == [("fashion-mnist", None), ("mnist", Path("data"))]
    assert capsys.readouterr().out == f"{tmp_path / 'fashion-mnist'}\n{tmp_path / 'mnist'}\n"
