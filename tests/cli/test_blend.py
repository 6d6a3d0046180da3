"""``hetsearch blend``, and what the other commands make of its bundle: real pictures, exit codes, messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hetsearch.bundle import WEIGHTS
from hetsearch.cli import main
from hetsearch.preprocess import InputSpec
from tests.pair import make_pair
from tests.support import OTHER_SPACE as SPACE  # the newer one of a pair is what is used
from tests.support import SPACE as OTHER_SPACE
from tests.support import linear_bundle, linear_weights

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


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, fashion_train: tuple[np.ndarray, np.ndarray]
) -> tuple[Path, Path]:
    """A gallery encoder that knows the classes, and a query encoder that errs in its own way on either side."""
    made = make_pair(tmp_path_factory.mktemp("pair"), *fashion_train)
    weights = load_file(made.new.folder / WEIGHTS)
    chance, _ = linear_weights(16, InputSpec(), 1)
    light = weights["matrix"] + 1.5 * weights["matrix"].std() / chance.std() * chance
    query = linear_bundle(made.folder / "new" / "query-encoder", space=SPACE, weights=(light, weights["bias"]))
    return made.new.folder, query


def test_from_the_share_to_a_search(
    run: Run, pair: tuple[Path, Path], fashion_folder: Path, tmp_path: Path
) -> None:
    heavy, light = pair
    blend, gallery, data = tmp_path / "b", tmp_path / "gallery", ("--data", fashion_folder)
    code, out, err = run("blend", *pair, *data, "--out", blend)
    assert code == 0
    assert "0.0 (M(q,g))" in out
    assert " best " in out
    assert "against the two encoders blended in NumPy" in out
    assert f"wrote {blend}" in err

    code, out, _ = run("evaluate", "--query", light, "--gallery", blend, *data, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["verdict"]["compatible"]["map"] is True
    assert report["paragon"]["source"] == "measured, blend"
    chosen = json.loads((blend / "encoder.json").read_text(encoding="utf-8"))["numbers"]["blend"]
    rows = {row["kind"]: row for row in report["matrix"]}
    assert rows["heterogeneous"]["map"] == pytest.approx(chosen["scores"][str(chosen["share"])]["map"], abs=1e-6)
    _, plain, _ = run("evaluate", "--query", light, "--gallery", heavy, *data, "--json")
    before = next(row for row in json.loads(plain)["matrix"] if row["kind"] == "heterogeneous")
    assert chosen["scores"]["0.0"]["map"] == pytest.approx(before["map"], abs=1e-9)
    assert chosen["difference"]["difference"] == pytest.approx(rows["heterogeneous"]["map"] - before["map"], abs=1e-6)

    images = ("--images", fashion_folder, "--limit", 50)
    assert run("index", "build", "--encoder", blend, *images, "--out", gallery)[0] == 0
    picture = sorted(fashion_folder.rglob("*.png"))[0]
    code, out, _ = run("search", "--gallery", gallery, "--encoder", light, picture, "--json")
    hit = json.loads(out)["queries"][0]["hits"][0]
    assert (code, hit["key"]) == (0, picture.relative_to(fashion_folder).as_posix())

    code, _, err = run("index", "build", "--encoder", heavy, *images, "--out", gallery)
    assert (code, "is another network of the same space: nothing is embedded" in err) == (0, True)
    code, _, err = run("index", "update", gallery, "--encoder", heavy, "--images", fashion_folder, "--dry-run")
    assert (code, "'hetsearch index build' into another folder" in err) == (0, True)
    code, out, err = run("index", "upgrade", gallery, "--encoder", heavy)
    assert (code, "nothing to do" in out, "nothing to upgrade by declaration" in err) == (0, True, True)
    code, _, err = run("index", "build", "--encoder", blend, *images, "--out", gallery)
    assert (code, err) == (0, "")  # the same again is nothing to warn of


def test_a_share_that_is_given_is_not_measured(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    code, out, err = run("blend", *pair, "--share", "0.3", "--out", tmp_path / "b", "--json")
    told = json.loads(out)
    assert (code, told["share"], told["choice"], told["parity"]["images"]) == (0, 0.3, None, 42)
    assert f"wrote {tmp_path / 'b'}" in err
    code, out, _ = run("inspect", tmp_path / "b")
    assert (code, "blend" in out) == (0, True)


def test_json_and_a_picture_that_cannot_be_read(
    run: Run, pair: tuple[Path, Path], fashion_test: tuple[np.ndarray, np.ndarray], fashion_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    for folder in fashion_folder.iterdir():
        (tmp_path / "images" / folder.name).symlink_to(folder)
    (tmp_path / "images" / "more").mkdir()
    (tmp_path / "images" / "more" / "bad.png").write_bytes(b"no picture")
    code, out, err = run("blend", *pair, "--data", tmp_path / "images", "--out", tmp_path / "b", "--json")
    assert (code, json.loads(out)["choice"]["n_queries"]) == (3, 200)
    assert "left out more/bad.png" in err
    assert (tmp_path / "b" / "model.onnx").is_file()


def test_a_blend_that_is_not_better_is_not_written(
    run: Run, pair: tuple[Path, Path], fashion_folder: Path, tmp_path: Path
) -> None:
    weights = load_file(pair[0] / WEIGHTS)  # the gallery encoder's own
    same = linear_bundle(tmp_path / "same", space=SPACE, weights=(weights["matrix"], weights["bias"]))
    code, out, err = run("blend", pair[0], same, "--data", fashion_folder, "--out", tmp_path / "b")
    assert (code, "0.0 (M(q,g))" in out, (tmp_path / "b").exists()) == (4, True, False)
    assert "no blend is clearly better than the gallery encoder alone" in err
    assert "[+0.00000, +0.00000], 200 queries" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--data SRC or --share X, one of them"),
        (("--data", "x", "--share", "0.5"), "--data SRC or --share X, one of them"),
        (("--share", "1"), "more than 0 and less than 1"),
        (("--data", "nowhere"), "nowhere"),
    ],
)
def test_wrong_usage(run: Run, pair: tuple[Path, Path], tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    code, out, err = run("blend", *pair, *words, "--out", tmp_path / "b")
    assert (code, out, message in err) == (2, "", True)


def test_what_cannot_be_blended(run: Run, pair: tuple[Path, Path], tmp_path: Path) -> None:
    heavy, light = pair
    other = linear_bundle(tmp_path / "other", space=OTHER_SPACE)
    large = linear_bundle(tmp_path / "large", space=SPACE, spec=InputSpec(size=32))
    given = ("--share", "0.5", "--out")
    assert run("blend", *pair, *given, tmp_path / "b")[0] == 0
    for words, code, message in (
        ((heavy, other), 4, f"observed {OTHER_SPACE}, expected {SPACE}"),
        ((heavy, large), 2, "observed size 32, expected size 28"),
        ((light, heavy), 2, "The order is: hetsearch blend GALLERY_ENCODER QUERY_ENCODER"),
        ((tmp_path / "b", light), 2, "is a blend already"),
        ((heavy, tmp_path / "nothing"), 2, "is not an encoder bundle"),
    ):
        found, out, err = run("blend", *words, *given, tmp_path / "c")
        assert (found, out, message in err) == (code, "", True), err
    assert run("blend", *pair, *given, heavy)[0] == 2
    code, _, err = run("export", tmp_path / "b")
    assert (code, "is a blend of two encoders" in err) == (2, True)
