"""Four miniature styles in the real format, rendered for real. ``npm`` is a small shell script."""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data import named, open_source
from hetsearch.data.check import check
from hetsearch.data.fetch import fetch
from hetsearch.data.icons import split_of
from hetsearch.data.sides import Sides
from hetsearch.errors import DamagedArtifact, DataError, MissingExtra
from hetsearch.metrics import first_hits, ranked_relevance
from hetsearch.preprocess import InputSpec, preprocess
from tests.data.made import STYLES, icon_files, miniature, npm_brings

NAMES = {"red-heart", "cactus", "cat-face", "thumbs-up", "bell", "farmer"}  # without grinning-cat and tired-face
SPEC = InputSpec(size=16, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def npm(bare_machine: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The named set is the miniature one, and npm brings it; the folder of programs."""
    monkeypatch.setitem(named.NAMED, "emoji", miniature())
    npm_brings(programs, {style: icon_files(style) for style in STYLES})
    return programs


@pytest.fixture
def folder(npm: Path) -> Path:
    return fetch("emoji")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "emoji.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_rendered(folder: Path, bare_machine: Path) -> None:
    assert folder == bare_machine / "hetsearch" / "data" / "emoji"
    table = rows(folder)
    assert Counter(row["label"] for row in table) == dict.fromkeys(NAMES, 4)
    for row in table:
        assert row["key"] == f"{row['domain']}/{row['label']}"
        assert row["group"] == row["domain"]
        assert row["split"] == split_of(row["label"])
        assert row["sha256"] == hashlib.sha256((folder / row["path"]).read_bytes()).hexdigest()
    card = json.loads((folder / "emoji.json").read_text())
    assert (card["concepts"], card["merged"], card["size"]) == (6, {"cat-face": ["grinning-cat"]}, 64)
    assert card["files"].keys() == {"emoji.csv", "LICENSES.md"}
    assert card["styles"]["noto"]["package"] == "@iconify-json/noto"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "emoji.csv", "emoji.json", "LICENSES.md", *(row["path"] for row in table),
    }  # fmt: skip


def test_every_licence_is_named(folder: Path) -> None:
    text = (folder / "LICENSES.md").read_text()
    for style in STYLES:
        assert f"| {style}/ | {style.title()} | Who drew {style}, https://example.org | MIT (SPDX MIT)" in text
        assert f"| @iconify-json/{style} 1.2.3 |" in text


def test_the_same_bytes_each_time(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    again = fetch("emoji")
    assert again != folder
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert {path: (again / path).read_bytes() for path in files} == {
        path: (folder / path).read_bytes() for path in files
    }


def test_a_split_as_a_source(folder: Path) -> None:
    for split in named.SPLITS:
        images = open_source(f"emoji:{split}")
        assert images.name == f"emoji:{split}"
        assert set(images.classes) == {name for name in NAMES if split_of(name) == split}
        assert len(images) == 4 * len(images.classes) > 0
        assert images.domains == images.groups
        assert images.roles is None
        assert check(images).unreadable == ()
    assert preprocess(images.read(0), SPEC).shape == (3, 16, 16)


def test_each_style_queries_all_the_others(folder: Path) -> None:
    images = open_source("emoji:train")
    assert images.labels is not None
    assert images.domains is not None
    n, concepts = len(images), len(images.classes)
    assert concepts > 1
    vectors = np.random.default_rng(0).normal(size=(n, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    sides = Sides.of(images)
    query, gallery = sides.query(vectors), sides.gallery(vectors)
    assert sides.protocol == "leave-one-out"
    assert len(query) == len(gallery) == n
    for block, order, _ in first_hits(query, gallery, k=n):
        for row, hits in zip(range(n)[block], order, strict=True):
            others = {place for place in range(n) if images.domains[place] != images.domains[row]}
            assert set(hits[hits >= 0].tolist()) == others
    for _, relevant in ranked_relevance(query, gallery):
        assert (relevant.sum(axis=1) == 3).all()  # one picture of the concept in each other style


def test_the_manifest_is_a_source_too(folder: Path) -> None:
    assert len(open_source(str(folder / "emoji.csv"))) == 24


def test_out_copies_only_what_belongs_to_it(
    folder: Path, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (programs / "npm").unlink()
    (folder / "noto" / "mine.png").write_bytes(b"x")
    target = fetch("emoji", tmp_path / "data")
    assert target == tmp_path / "data" / "emoji"
    assert not (target / "noto" / "mine.png").exists()
    assert len(list(target.rglob("*.png"))) == 24
    monkeypatch.setenv("HETSEARCH_DATA", str(tmp_path / "data"))
    assert named.find("emoji") == target
    assert fetch("emoji") == target


def changed(folder: Path, name: str) -> str:
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    return f"{name}' was changed after it was rendered.*sha256"


def gone(folder: Path, name: str) -> str:
    (folder / name).unlink()
    return f"{name}' was changed after it was rendered.*no such file"


@pytest.mark.parametrize("damage", [changed, gone])
def test_a_damaged_picture_is_found_and_made_again(folder: Path, damage: object) -> None:
    path = next(row["path"] for row in rows(folder) if row["split"] == "train")
    original = (folder / path).read_bytes()
    message = damage(folder, path)  # type: ignore[operator]
    for split in named.SPLITS:
        with pytest.raises(DamagedArtifact, match=rf"emoji/{message}.*'hetsearch data fetch emoji'"):
            open_source(f"emoji:{split}")
    assert fetch("emoji") == folder
    assert (folder / path).read_bytes() == original
    assert open_source("emoji:train").name == "emoji:train"


@pytest.mark.parametrize("name", ["emoji.csv", "LICENSES.md"])
def test_a_damaged_table_is_found(folder: Path, name: str) -> None:
    message = changed(folder, name)
    with pytest.raises(DamagedArtifact, match=message):
        open_source("emoji:test")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema": 1}', '{"schema": 2, "files": {}}', '{"schema": 1, "files": []}']
)
def test_a_damaged_card_is_found(folder: Path, content: str) -> None:
    (folder / "emoji.json").write_text(content)
    with pytest.raises(DamagedArtifact, match=r"emoji\.json' was changed after.*card of schema 1"):
        open_source("emoji:test")


def test_damage_elsewhere_is_not_touched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HETSEARCH_DATA", str(folder.parent))
    message = changed(folder, "LICENSES.md")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "elsewhere"))
    with pytest.raises(DamagedArtifact, match=message):
        fetch("emoji")


def test_not_on_this_machine(bare_machine: Path) -> None:
    with pytest.raises(DataError, match="hetsearch data fetch emoji"):
        open_source("emoji:test")
    with pytest.raises(DataError, match=r"no split 'tests'.*Did you mean 'test'"):
        open_source("emoji:tests")


def test_without_npm(npm: Path, bare_machine: Path) -> None:
    (npm / "npm").unlink()
    with pytest.raises(DataError, match=r"'emoji' could not be fetched.*@iconify-json/noto: there is no npm"):
        fetch("emoji")
    assert not bare_machine.exists()


def test_without_resvg_nothing_is_downloaded(npm: Path, bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (npm / "npm").unlink()
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingExtra, match=r"pip install 'hetsearch\[data\]'"):
        fetch("emoji")
    assert not bare_machine.exists()


def test_a_package_that_npm_does_not_know(npm: Path) -> None:
    npm_brings(npm, {style: icon_files(style) for style in STYLES[:2]})
    with pytest.raises(DataError, match="@iconify-json/twemoji: exit 1: npm error code E404"):
        fetch("emoji")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"chars.json": b"{}"}, "'@iconify-json/twemoji' is not the published package: observed sha256"),
        ({"chars.json": None}, "@iconify-json/twemoji: it did not bring chars.json"),
    ],
)
def test_another_package_is_refused(
    npm: Path, bare_machine: Path, damage: dict[str, bytes | None], message: str
) -> None:
    packages = {style: icon_files(style) for style in STYLES}
    files = {**packages["twemoji"], **damage}
    packages["twemoji"] = {name: content for name, content in files.items() if content is not None}
    npm_brings(npm, packages)
    with pytest.raises(DataError, match=message):
        fetch("emoji")
    assert not bare_machine.exists()
