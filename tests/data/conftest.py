"""Machines that have nothing else than the committed slice, or than programs that the test writes."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hetsearch.data import named
from hetsearch.data.published import IDX
from tests.data.made import script

SLICE = Path(__file__).parent.parent / "fixtures" / "fashion-mnist"


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data anywhere; the cache is under the returned folder."""
    monkeypatch.delenv("HETSEARCH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, entry in list(named.NAMED.items()):
        monkeypatch.setitem(named.NAMED, name, replace(entry, installed=None))
    return tmp_path / "cache"


@pytest.fixture
def sliced(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """fashion-mnist is the slice (900 train, 100 validation, 500 test images), whose folder is returned."""
    md5 = {
        stem: hashlib.md5(gzip.decompress((SLICE / f"{stem}.gz").read_bytes())).hexdigest()
        for stem in (*IDX.train, *IDX.test)
    }
    entry = replace(named.NAMED["fashion-mnist"], md5=md5, validation=100)
    monkeypatch.setitem(named.NAMED, "fashion-mnist", entry)
    return SLICE


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH, and a Python without torchvision."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    script(folder, "python", "echo \"ModuleNotFoundError: No module named 'torchvision'\" >&2; exit 1")
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setattr(os, "sync", lambda: None)  # would wait for whatever else the machine writes
    return folder
