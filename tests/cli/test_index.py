from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from hetsearch.cli.index import app
from hetsearch.errors import SpaceMismatch, UsageError
from hetsearch.gallery import open_gallery
from tests.support import OTHER_SPACE, SPACE, linear_bundle


def run(*arguments: object) -> object:
    return app([str(word) for word in arguments], result_action="return_value", exit_on_error=False)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return linear_bundle(tmp_path / "bundle", space=SPACE)


def test_build_and_verify(
    bundle: Path, fashion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("build", "--encoder", bundle, "--images", fashion_folder, "--out", tmp_path / "g", "--limit", 30)
    assert run(*words) == 0
    captured = capsys.readouterr()
    rows = dict(line.rsplit("  ", 1) for line in captured.out.splitlines()[2:])
    table = {name.strip(): value.strip() for name, value in rows.items()}
    assert (table["space"], table["vectors"], table["images not read"]) == (SPACE, "30", "0")
    assert "built" in captured.out
    assert captured.err == ""  # a bar is for a terminal
    assert run(*words) == 0
    assert "was finished" in capsys.readouterr().out
    assert run("verify", tmp_path / "g") in (None, 0)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["self-recall", "of", "30", "1.000"] in lines
    assert run("verify", tmp_path / "g", "--json") in (None, 0)
    assert json.loads(capsys.readouterr().out)["rows"] == 30


def test_unreadable_images_give_3_and_json_is_one_document(
    bundle: Path, fashion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    first = next(iter(fashion_folder.rglob("*.png")))
    (pictures / "a.png").write_bytes(first.read_bytes())
    for row in range(12):
        (pictures / f"b{row:02d}.png").touch()
    words = ("build", "--encoder", bundle, "--images", pictures, "--out", tmp_path / "g", "--json")
    assert run(*words) == 3
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert (document["rows"], len(document["failures"]), document["done_before"]) == (1, 12, False)
    assert "not read: b09.png" in captured.err
    assert "not read: b10.png" not in captured.err
    assert "and 2 more in embeddings/failures.parquet" in captured.err
    assert run(*words) == 3
    assert json.loads(capsys.readouterr().out)["done_before"] is True


def test_a_warning_is_a_line_on_stderr(
    bundle: Path, fashion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("build", "--encoder", bundle, "--images", fashion_folder, "--out", tmp_path / "g", "--limit", 5)
    assert run(*words) == 0
    assert run(*words, "--factory", "HNSW8") == 0
    assert "hetsearch: warning: the gallery" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(
    bundle: Path, fashion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("build", "--encoder", bundle, "--images", fashion_folder, "--out", tmp_path / "g", "--dry-run")
    assert run(*words) == 0
    lines = {line.rsplit("  ", 1)[0].strip(): line.rsplit("  ", 1)[1].strip() for line in
             capsys.readouterr().out.splitlines()[2:]}  # fmt: skip
    assert (lines["images"], lines["shards"], lines["of these there already"]) == ("200", "1", "0")
    assert run(*words, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["fits"] is True
    assert document["seconds"] == pytest.approx(200 / document["images_per_second"])
    assert not (tmp_path / "g").exists()


def test_a_disk_without_room(
    bundle: Path, fashion_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=20_000))
    words = ("build", "--encoder", bundle, "--images", fashion_folder, "--out", tmp_path / "g")
    assert run(*words, "--dry-run") == 2
    with pytest.raises(UsageError, match=r"has no room for this job: observed 0\.0 MB free, expected 0\.1 MB"):
        run(*words)
    assert list((tmp_path / "g").iterdir()) == []


def test_refusals(bundle: Path, fashion_folder: Path, tmp_path: Path) -> None:
    words = ("build", "--images", fashion_folder, "--out", tmp_path / "g")
    assert run(*words, "--encoder", bundle, "--limit", 5) == 0
    with pytest.raises(UsageError, match="hetsearch index update"):
        run(*words, "--encoder", bundle, "--limit", 6)
    other = linear_bundle(tmp_path / "other", space=OTHER_SPACE)
    with pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}"):
        run(*words, "--encoder", other, "--limit", 5)


def test_auto_shows_what_it_chose_among(
    bundle: Path, fashion_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("build", "--encoder", bundle, "--images", fashion_folder, "--out", tmp_path / "g", "--factory", "auto")
    limits = ("--max-memory", "10kB", "--min-recall", "0.5")
    assert run(*words, *limits, "--dry-run") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Flat", "-", "-", "0.01", "yes", "memory"] in lines
    assert ["SQ8", "-", "-", "0.00", "yes", "none"] in lines
    with pytest.raises(UsageError, match="'10' is no size: observed no unit"):
        run(*words, "--max-memory", "10")
    assert run(*words, *limits) == 0
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()]
    assert ["store", "faiss", "SQ8"] in lines
    assert ["index", "recall@10", "ms/query", "MB", "can", "remove", "limits", "not", "met"] in lines
    assert "recall and time are measured on 180 vectors with 20 queries" in captured.out
    assert captured.out.endswith("the first that meets: recall@10 of 0.5 or more, at most 10kB\n")
    assert "hetsearch: choosing an index for 200 vectors" in captured.err
    assert "hetsearch: Flat, recall@10 1.000, " in captured.err
    assert run(*words, *limits, "--json") == 0
    assert json.loads(capsys.readouterr().out)["choice"]["factory"] == "SQ8"
    assert run("verify", tmp_path / "g") in (None, 0)


@pytest.fixture
def pictures(fashion_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, path in enumerate(sorted(fashion_folder.rglob("*.png"))[:20]):
        shutil.copy(path, folder / f"{number:02d}.png")
    return folder


def test_update_delete_and_compact(
    bundle: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = tmp_path / "g"
    assert run("build", "--encoder", bundle, "--images", pictures, "--out", gallery) == 0
    shutil.copy(pictures / "00.png", pictures / "copy.png")
    (pictures / "01.png").rename(pictures / "renamed.png")
    (pictures / "02.png").unlink()
    (pictures / "03.png").write_bytes((pictures / "04.png").read_bytes())
    (pictures / "bad.png").write_bytes(b"no picture")
    words = ("update", gallery, "--encoder", bundle, "--images", pictures)
    capsys.readouterr()
    assert run(*words, "--dry-run") == 0
    line = "2 new, 1 changed, 1 renamed, 0 described anew, 1 removed, 0 failed, 17 unchanged"
    assert capsys.readouterr().out.splitlines()[0] == line
    assert run(*words) == 3
    captured = capsys.readouterr()
    line = "1 new, 1 changed, 1 renamed, 0 described anew, 1 removed, 1 failed, 17 unchanged"
    assert captured.out.splitlines()[0] == line
    assert "hetsearch: not read: bad.png" in captured.err
    assert run(*words, "--json") == 3
    document = json.loads(capsys.readouterr().out)
    assert (document["nothing"], document["generation"], document["rows"]) == (True, 2, 20)
    (tmp_path / "keys.txt").write_text("05.png\n06.png\n")
    assert run("delete", gallery, "07.png", "absent.png", "--keys-from", tmp_path / "keys.txt") == 0
    captured = capsys.readouterr()
    assert "3 removed" in captured.out
    assert "hetsearch: not there: absent.png" in captured.err
    assert run("compact", gallery, "--json") in (None, 0)
    document = json.loads(capsys.readouterr().out)
    assert (document["rows"], document["dropped"], document["generation"]) == (17, 6, 4)
    assert run("compact", gallery) in (None, 0)
    assert "nothing to do" in capsys.readouterr().out
    assert run("verify", gallery) in (None, 0)
    with pytest.raises(UsageError, match="no key is given"):
        run("delete", gallery)


def test_an_update_of_another_space(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    assert run("build", "--encoder", bundle, "--images", pictures, "--out", tmp_path / "g") == 0
    other = linear_bundle(tmp_path / "other", space=OTHER_SPACE)
    with pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}"):
        run("update", tmp_path / "g", "--encoder", other, "--images", pictures)


def test_a_list_of_keys_from_a_spreadsheet(bundle: Path, pictures: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "g"
    run("build", "--encoder", bundle, "--images", pictures, "--out", gallery)
    keys = open_gallery(gallery).items["key"].to_pylist()[:2]
    (tmp_path / "keys.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(keys).encode())
    run("delete", gallery, "--keys-from", tmp_path / "keys.txt")
    assert not set(keys) & set(open_gallery(gallery).items["key"].to_pylist())


def test_a_list_of_keys_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_bytes(b"\xff\n")
    for name, message in (("none.txt", "No such file"), ("keys.txt", "not UTF-8")):
        with pytest.raises(UsageError, match=f"{name}' cannot be read: observed {message}"):
            run("delete", tmp_path, "--keys-from", tmp_path / name)
