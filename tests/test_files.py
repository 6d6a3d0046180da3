from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from hetsearch import files
from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.files import (
    atomic_folder,
    atomic_path,
    checksums,
    dump_json,
    make_folder,
    read_json,
    sha256_of,
    verify_checksums,
    write_bytes,
    write_json,
    write_text,
)


class Killed(BaseException):
    """A job that ends in the middle."""


def fail_inside(context: object, name: str = "") -> None:
    with context as temporary:
        target = temporary / name if name else temporary
        target.write_text("half")
        raise Killed


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    write_text(target, "old")
    with pytest.raises(Killed):
        fail_inside(atomic_path(target))
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_is_whole_or_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "space"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(Killed):
        fail_inside(atomic_folder(target), "b")
    assert [path.name for path in target.iterdir()] == ["a"]
    with atomic_folder(target) as temporary:
        (temporary / "b").write_text("new")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_never_absent_while_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "space"
    with atomic_folder(target) as temporary:
        (temporary / "a").write_text("old")
    (tmp_path / "other").mkdir()
    exchanged = files._exchange(tmp_path / "other", target) and files._exchange(tmp_path / "other", target)
    (tmp_path / "other").rmdir()
    if not exchanged:
        pytest.skip("this system cannot exchange two names in one step")
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("renamed in two steps"))
    with atomic_folder(target) as temporary:
        (temporary / "b").write_text("new")
    assert [path.name for path in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_where_names_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    test_a_folder_is_whole_or_as_it_was(tmp_path)


def test_json_has_no_nan_and_takes_numpy(tmp_path: Path) -> None:
    document = {
        "nan": float("nan"), "inf": [np.inf, -np.inf], "array": np.array([[1.5, np.nan]]),
        "scalar": np.float32(0.5), "count": np.int64(3), "tuple": (1, "ü"), 4: None, "flag": np.True_,
    }
    write_json(tmp_path / "a.json", document)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON")) == {
        "nan": None, "inf": [None, None], "array": [[1.5, None]], "scalar": 0.5, "count": 3,
        "tuple": [1, "ü"], "4": None, "flag": True,
    }
    assert "ü" in text
    assert text == dump_json(document)
    assert text.endswith("}\n")


def test_reading_json(tmp_path: Path) -> None:
    path = tmp_path / "gallery.json"
    with pytest.raises(UsageError, match=r"is not a gallery: observed no gallery\.json"):
        read_json(path, what="a gallery")
    for payload in (b"{", b"\xff\xfe", b""):
        path.write_bytes(payload)
        with pytest.raises(DamagedArtifact, match="cannot be read"):
            read_json(path, what="a gallery")
    path.write_text("[1]")
    with pytest.raises(DamagedArtifact, match="observed list, expected a JSON object"):
        read_json(path, what="a gallery")
    path.write_text('{"a": 1}')
    assert read_json(path, what="a gallery") == {"a": 1}


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_sha256_of_a_file(tmp_path: Path, size: int) -> None:
    payload = bytes(size)
    write_bytes(tmp_path / "a", payload)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(payload).hexdigest()


def test_checksums_of_a_folder(tmp_path: Path) -> None:
    for name in ("card.json", "b/c.bin", "a.bin", ".hidden"):
        write_text(tmp_path / name, name)
    found = checksums(tmp_path, but="card.json")
    assert list(found) == ["a.bin", "b/c.bin"]
    verify_checksums(tmp_path, found)
    write_text(tmp_path / "b" / "c.bin", "changed")
    with pytest.raises(DamagedArtifact, match=r"c\.bin' was changed after it was written"):
        verify_checksums(tmp_path, found)
    (tmp_path / "b" / "c.bin").unlink()
    with pytest.raises(DamagedArtifact, match=r"is not whole: observed no b/c\.bin"):
        verify_checksums(tmp_path, found)
    verify_checksums(tmp_path, found, optional=frozenset({"b/c.bin"}))


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(UsageError, match=r"is not an encoder bundle: observed a file, not the folder of encoder\.json"):
        read_json(tmp_path / "model.onnx" / "encoder.json", what="an encoder bundle")


def test_checksums_that_are_none(tmp_path: Path) -> None:
    write_text(tmp_path / "space.json", '{"files": []}')
    with pytest.raises(DamagedArtifact, match="observed files: list"):
        read_json(tmp_path / "space.json", what="a space")


def test_the_folder_of_the_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(UsageError, match=r"nothing can be written into .* Choose another --out"):
            make_folder(path)
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(UsageError, match="observed it may not be written to"):
        make_folder(tmp_path / "a")
