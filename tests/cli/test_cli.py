"""What a user meets: exit codes, messages, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hetsearch.cli import main
from tests.support import OTHER_SPACE, SPACE, linear_bundle

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line in this process: exit code, stdout, stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        code = left.value.code
        found = capsys.readouterr()
        assert "Traceback" not in found.err + found.out
        return (code if isinstance(code, int) else 0), found.out, found.err

    return call


@pytest.fixture
def query(tmp_path: Path) -> Path:
    return linear_bundle(tmp_path / "query", space=SPACE)


@pytest.fixture
def gallery(tmp_path: Path, run: Run, query: Path, fashion_folder: Path) -> Path:
    code, _, _ = run("index", "build", "--encoder", query, "--images", fashion_folder, "--out", tmp_path / "gallery")
    assert code == 0
    return tmp_path / "gallery"


def picture(path: Path, size: tuple[int, int] = (30, 20)) -> Path:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (size[1], size[0]), dtype=np.uint8)).save(path)
    return path


def test_every_command_has_help(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in ("quickstart", "data", "train", "nas", "export", "blend", "index", "search", "evaluate", "inspect"):
        assert f" {name} " in out
        assert run(name, "--help")[0] == 0


def test_a_commands_own_help_tells_more_than_its_line(run: Run) -> None:
    line = "Find the nearest items of a gallery for each picture (or vector)."
    assert line in " ".join(run("--help")[1].replace("│", " ").split())
    own = " ".join(run("search", "--help")[1].split())
    assert line in own
    assert "refused with exit code 4" in own


def test_an_unknown_command_or_flag_is_wrong_usage(run: Run) -> None:
    for words in (["serch"], ["search", "--galery", "x"], ["search"], ["train", "gallery"]):
        assert run(*words)[0] == 2, words


def test_search_prints_exactly_one_json_document(run: Run, query: Path, gallery: Path, fashion_folder: Path) -> None:
    image = fashion_folder / "class-3" / "004.png"
    code, out, _ = run("search", "--gallery", gallery, "--encoder", query, image, "-k", "3", "--json")
    assert code == 0
    hits = json.loads(out)["queries"][0]["hits"]
    assert [hits[0]["key"], len(hits)] == ["class-3/004.png", 3]
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)


def test_another_space_is_refused_everywhere_with_both_ids(
    run: Run, tmp_path: Path, query: Path, gallery: Path, fashion_folder: Path
) -> None:
    other = linear_bundle(tmp_path / "other", space=OTHER_SPACE, seed=1)
    image = fashion_folder / "class-3" / "004.png"
    for words in (
        ["search", "--gallery", gallery, "--encoder", other, image],
        ["evaluate", "--query", other, "--gallery", query, "--data", fashion_folder],
        ["index", "build", "--encoder", other, "--images", fashion_folder, "--out", gallery],
    ):
        code, out, err = run(*words)
        assert code == 4, words
        assert SPACE in err
        assert OTHER_SPACE in err
        assert not out


@pytest.mark.parametrize(
    ("name", "content", "expected", "message"),
    [
        ("truncated.jpg", "truncated", 3, "cannot be read"),
        ("empty.png", b"", 3, "is empty"),
        ("text.png", b"no picture", 3, "cannot be read"),
        ("missing.png", None, 2, "there is no picture"),
    ],
)
def test_a_bad_query_picture(
    run: Run,
    tmp_path: Path,
    query: Path,
    gallery: Path,
    name: str,
    content: bytes | str | None,
    expected: int,
    message: str,
) -> None:
    path = tmp_path / name
    if content == "truncated":
        whole = picture(tmp_path / "whole.jpg", (200, 200)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    code, _, err = run("search", "--gallery", gallery, "--encoder", query, path)
    assert code == expected
    assert message in err
    assert name in err


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_can_be_searched_with(
    run: Run, tmp_path: Path, query: Path, gallery: Path, mode: str
) -> None:
    path = tmp_path / f"ein Bild, 画像 {mode.replace(';', '')}.{'tif' if mode == 'CMYK' else 'png'}"
    if mode == "I;16":
        Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(path)
    else:
        Image.open(picture(tmp_path / "grey.png")).convert(mode).save(path)
    code, out, _ = run("search", "--gallery", gallery, "--encoder", query, path, "-k", "2")
    assert code == 0
    assert path.name in out


def test_one_pixel_is_enough(run: Run, tmp_path: Path, query: Path, gallery: Path) -> None:
    image = picture(tmp_path / "one.png", (1, 1))
    assert run("search", "--gallery", gallery, "--encoder", query, image)[0] == 0


def test_k(run: Run, query: Path, gallery: Path, fashion_folder: Path) -> None:
    words = ["search", "--gallery", gallery, "--encoder", query, fashion_folder / "class-3" / "004.png", "--json"]
    code, _, err = run(*words, "-k", "0")
    assert code == 2
    assert "0" in err
    code, out, err = run(*words, "-k", "1000")
    assert code == 0
    assert len(json.loads(out)["queries"][0]["hits"]) == 200
    assert "warning" in err


def test_a_source_that_is_missing_empty_or_lacks_a_column(run: Run, tmp_path: Path, query: Path) -> None:
    (tmp_path / "empty").mkdir()
    no_path = tmp_path / "no-path.csv"
    no_path.write_text("key,label\na,b\n")
    no_file = tmp_path / "no-file.csv"
    no_file.write_text("key,path,label\na,absent.png,b\n")
    for source, message in (
        (tmp_path / "nowhere", "nowhere"),
        (tmp_path / "empty", "no image"),
        (no_path, "path"),
        (no_file, "absent.png"),
        ("fashion-mnits:test", "fashion-mnist"),
    ):
        code, _, err = run("index", "build", "--encoder", query, "--images", source, "--out", tmp_path / "g")
        assert code == 2, (source, err)
        assert message in err


def test_unreadable_pictures_are_named_and_the_rest_is_indexed(run: Run, tmp_path: Path, query: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    picture(folder / "good.png")
    (folder / "zero.png").write_bytes(b"")
    words = ["index", "build", "--encoder", query, "--images", folder, "--out", tmp_path / "g", "--json"]
    code, out, err = run(*words)
    assert code == 3
    assert "zero.png" in err
    assert json.loads(out)["rows"] == 1
    assert run(*words)[0] == 3


def test_a_changed_weight_byte_is_found(run: Run, query: Path, gallery: Path, fashion_folder: Path) -> None:
    model = query / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    image = fashion_folder / "class-3" / "004.png"
    code, _, err = run("search", "--gallery", gallery, "--encoder", query, image)
    assert code == 1
    assert "model.onnx" in err
    assert "sha256" in err


def test_an_unknown_configuration_key_names_the_nearest(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "recipe.yaml"
    config.write_text("data: {train: a, validation: b}\ninput: {}\nobjectives: {classification: {}}\nschedul: {}\n")
    code, _, err = run("train", "gallery", config, "--out", tmp_path / "run")
    assert code == 2
    assert "schedule" in err
    config.write_text("data: {train: a, validation: b}\ninput: {}\nobjectives: {classification: {}}\n")
    code, _, err = run("train", "gallery", config, "--out", tmp_path / "run", "--schedule.epoch", "3")
    assert code == 2
    assert "'epochs'" in err


def test_a_folder_that_is_no_bundle(run: Run, tmp_path: Path, fashion_folder: Path) -> None:
    code, _, err = run("index", "build", "--encoder", tmp_path, "--images", fashion_folder, "--out", tmp_path / "g")
    assert code == 2
    assert "encoder.json" in err


def test_evaluate_writes_its_report(run: Run, tmp_path: Path, query: Path, fashion_folder: Path) -> None:
    heavy = linear_bundle(tmp_path / "heavy", space=SPACE, role="gallery")
    free = linear_bundle(tmp_path / "free", space=OTHER_SPACE, seed=5, role="free")
    words = ["evaluate", "--query", query, "--gallery", heavy, "--free", free, "--data", fashion_folder]
    code, out, _ = run(*words, "--out", tmp_path / "report", "--json")
    assert code == 0
    document = json.loads(out)
    assert document == json.loads((tmp_path / "report" / "report.json").read_text())
    assert {row["kind"] for row in document["matrix"]} == {
        "paragon", "heterogeneous", "homogeneous", "baseline", "control",
    }  # fmt: skip
    # One random projection on both sides: heterogeneous search equals the paragon exactly.
    assert document["verdict"]["retention"]["map"] == pytest.approx(1)
    assert "<html" in (tmp_path / "report" / "report.html").read_text()
    assert run("inspect", tmp_path / "report")[0] == 0


def test_a_file_where_a_folder_should_be(
    run: Run, tmp_path: Path, query: Path, gallery: Path, fashion_folder: Path
) -> None:
    (tmp_path / "file").touch()
    source = ["--data", fashion_folder]
    for words in (
        ["evaluate", "--query", query, "--gallery", query, *source, "--out", tmp_path / "file"],
        ["evaluate", "--query", query / "model.onnx", "--gallery", query, *source],
        ["index", "build", "--encoder", query, "--images", fashion_folder, "--out", tmp_path / "file" / "g"],
        ["search", "--gallery", gallery / "gallery.json", "--encoder", query, fashion_folder / "class-3" / "004.png"],
    ):
        code, out, err = run(*words)
        assert (code, out) == (2, ""), (words, err)


def test_what_the_machine_refuses_is_a_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: object) -> None:
        raise PermissionError(13, "Permission denied", "/secret/encoder.json")

    monkeypatch.setattr("hetsearch.query.describe.describe", refused)
    code, out, err = run("inspect", "/secret")
    assert (code, out) == (1, "")
    assert err == "hetsearch: error: '/secret/encoder.json': Permission denied\n"


def test_an_interrupted_command_says_how_it_goes_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hetsearch.query.describe.describe", interrupted)
    code, out, err = run("inspect", "/somewhere")
    assert (code, out) == (1, "")
    assert err == "hetsearch: interrupted. The same command goes on with a training or a job.\n"


def test_a_name_that_is_too_long_is_wrong_usage(run: Run, tmp_path: Path, query: Path, fashion_folder: Path) -> None:
    name = "a" * 5000
    for encoder, images, out in ((name, fashion_folder, tmp_path), (query, name, tmp_path), (query, "x.csv", name)):
        code, _, err = run("index", "build", "--encoder", encoder, "--images", images, "--out", out)
        assert code == 2
        assert len(err) < 400
    for words in (("index", "verify", name), ("search", "--gallery", name, "--encoder", query, "x"), ("inspect", name)):
        code, _, err = run(*words)
        assert (code, "File name too long" in err) == (2, True)


def test_a_name_that_is_no_unicode_is_wrong_usage(run: Run, tmp_path: Path, query: Path, fashion_folder: Path) -> None:
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    picture(folder / "a.png")
    (folder / "m.csv").write_text("key,path\nk,a.png\n")
    build = ("index", "build", "--encoder", query, "--images")
    for images, out in ((folder / "m.csv", tmp_path / "gallery"), (fashion_folder, folder / "gallery")):
        code, _, err = run(*build, images, "--out", out)
        assert code == 2
        assert "is not valid Unicode" in err
        assert "udcff" in err


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    # The pipe's other end is closed before anything is written.
    script = "import os; r, w = os.pipe(); os.close(r); os.dup2(w, 1); from hetsearch.cli import main; main()"
    command = [sys.executable, "-c", script, "data", "check", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_picture_whose_name_is_no_text(run: Run, tmp_path: Path, query: Path, gallery: Path) -> None:
    image = tmp_path / "\udcff.png"
    picture(tmp_path / "a.png").rename(image)
    for more in ([], ["--json"]):
        code, out, _ = run("search", "--gallery", gallery, "--encoder", query, image, "-k", "1", *more)
        assert code == 0
        assert "\\udcff.png" in out


def test_a_missing_extra_is_named_with_the_command_that_installs_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("hetsearch.cli.app", without_torch)
    code, _, err = run("train", "gallery", "recipe.yaml")
    assert code == 1
    assert "pip install 'hetsearch[train]'" in err


def test_the_module_runs_as_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "hetsearch", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.1.0"
