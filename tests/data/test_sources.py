from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from hetsearch.data import open_source
from hetsearch.errors import DataError


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    path = tmp_path / "table.csv"
    path.write_text("path,split,key\na.png,test,1\na.png,train,2\n")
    return path


def test_the_three_forms(manifest: Path, sliced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_source(str(manifest.parent)).keys == ("a.png",)
    assert open_source(str(manifest)).keys == ("1", "2")
    assert open_source(f"{manifest}:train").keys == ("2",)
    monkeypatch.setenv("HETSEARCH_DATA", str(sliced.parent))
    assert len(open_source("fashion-mnist:test")) == 500


def test_a_folder_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fashion-mnist:test").mkdir()
    Image.new("L", (2, 2)).save(tmp_path / "fashion-mnist:test" / "mine.png")
    assert open_source("fashion-mnist:test").keys == ("mine.png",)


def test_a_set_that_is_not_there_names_the_command(bare_machine: Path) -> None:
    with pytest.raises(DataError, match="hetsearch data fetch fashion-mnist"):
        open_source("fashion-mnist:test")


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("fashion-mnist", "Did you mean 'fashion-mnist:t"),
        ("fasion-mnist:test", "Did you mean 'fashion-mnist:test'"),
        ("no/such/folder", "Known: .*fashion-mnist:test"),
        ("", "Known: .*fashion-mnist:test"),
    ],
)
def test_nothing_of_that_kind_names_the_three_forms(source: str, hint: str) -> None:
    message = f"no source '{source}': expected a folder.*manifest.*NAME:SPLIT.*{hint}"
    with pytest.raises(DataError, match=message):
        open_source(source)


def test_a_file_that_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "shirt.png").touch()
    with pytest.raises(DataError, match="observed a file that is neither a folder nor a manifest"):
        open_source(str(tmp_path / "shirt.png"))


def test_a_wrong_split(bare_machine: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'tets'.*Did you mean 'test'"):
        open_source("fashion-mnist:tets")


def test_a_missing_manifest(tmp_path: Path) -> None:
    for source in (f"{tmp_path}/absent.csv", f"{tmp_path}/absent.parquet:test"):
        with pytest.raises(DataError, match="there is no manifest"):
            open_source(source)


def test_the_room_never_imports_torch() -> None:
    code = (
        "import sys, hetsearch.data, hetsearch.data.check, hetsearch.data.fetch;"
        "sys.exit(bool({'torch', 'torchvision', 'timm', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
