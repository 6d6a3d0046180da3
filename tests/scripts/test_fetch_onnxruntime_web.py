"""What is brought into the package is what was recorded, or the script says so."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

NAME = "ort.wasm.min.mjs"


@pytest.fixture
def fetch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import fetch_onnxruntime_web

    monkeypatch.setattr(fetch_onnxruntime_web, "FOLDER", tmp_path)
    monkeypatch.setattr(fetch_onnxruntime_web, "INDEX", tmp_path / "index.json")
    return fetch_onnxruntime_web


def run(fetch: ModuleType, monkeypatch: pytest.MonkeyPatch, content: bytes, *flags: str) -> None:
    monkeypatch.setattr(fetch, "download", lambda version: (f"sum of {version}", {NAME: content}))
    monkeypatch.setattr(sys, "argv", ["fetch_onnxruntime_web.py", *flags])
    fetch.main()


def test_what_is_written(fetch: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run(fetch, monkeypatch, b"first")
    index = json.loads((tmp_path / "index.json").read_text())
    small = (tmp_path / f"{NAME}.gz").read_bytes()
    assert gzip.decompress(small) == b"first"
    assert (index["version"], index["integrity"]) == ("1.30.0", "sum of 1.30.0")
    assert index["files"][NAME] == {
        "bytes": 5, "sha256": hashlib.sha256(b"first").hexdigest(), "gzip_bytes": len(small),
        "gzip_sha256": hashlib.sha256(small).hexdigest(),
    }  # fmt: skip
    assert "MIT License" in (tmp_path / "LICENSE").read_text()
    run(fetch, monkeypatch, b"first")
    assert (tmp_path / f"{NAME}.gz").read_bytes() == small


def test_another_file_of_the_same_version_is_refused(
    fetch: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(fetch, monkeypatch, b"first")
    before = (tmp_path / f"{NAME}.gz").read_bytes()
    with pytest.raises(SystemExit, match=r"ort.wasm.min.mjs of onnxruntime-web 1.30.0 is not the file"):
        run(fetch, monkeypatch, b"second")
    assert (tmp_path / f"{NAME}.gz").read_bytes() == before
    run(fetch, monkeypatch, b"second", "--version", "1.31.0")
    assert json.loads((tmp_path / "index.json").read_text())["version"] == "1.31.0"
