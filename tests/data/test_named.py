from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data import named
from hetsearch.data.idx import read_idx
from hetsearch.errors import DamagedArtifact, DataError
from hetsearch.preprocess import InputSpec, preprocess

# Looked for before any fixture hides the machine's own data.
WHOLE = named.find("fashion-mnist")


def put(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns("README.md")))


def test_splits_keys_and_labels(sliced: Path, bare_machine: Path) -> None:
    put(sliced, bare_machine / "hetsearch" / "data" / "fashion-mnist")
    pixels, numbers = (read_idx(sliced / f"train-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    train, validation = (named.open_named("fashion-mnist", split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (900, 100)
    assert train.name == "fashion-mnist:train"
    assert (train.keys[0], train.keys[-1]) == ("train/00000", "train/00899")
    assert (validation.keys[0], validation.keys[-1]) == ("train/00900", "train/00999")
    assert train.labels is not None
    names = named.NAMED["fashion-mnist"].classes
    assert list(train.labels) == [names[number] for number in numbers[:900]]
    np.testing.assert_array_equal(train.read(17), pixels[17])
    np.testing.assert_array_equal(validation.read(0), pixels[900])
    np.testing.assert_array_equal(preprocess(validation.read(99), InputSpec()), pixels[999][None])


def test_the_test_split(sliced: Path, bare_machine: Path) -> None:
    put(sliced, bare_machine / "hetsearch" / "data" / "fashion-mnist")
    images = named.open_named("fashion-mnist", "test")
    assert (len(images), images.keys[0], images.keys[-1]) == (500, "test/00000", "test/00499")
    assert len(images.classes) == 10
    assert {"T-shirt/top", "Ankle boot"} <= set(images.classes)


def test_the_order_in_which_folders_are_looked_in(
    sliced: Path, bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert named.find("fashion-mnist") is None
    cached = put(sliced, bare_machine / "hetsearch" / "data" / "fashion-mnist")
    assert named.find("fashion-mnist") == cached
    given = put(sliced, tmp_path / "mine" / "fashion-mnist")
    monkeypatch.setenv("HETSEARCH_DATA", str(tmp_path / "mine"))
    assert named.find("fashion-mnist") == given
    (given / "t10k-labels-idx1-ubyte.gz").unlink()
    assert named.find("fashion-mnist") == cached  # a folder that lacks a file does not count


def test_uncompressed_files_are_found_too(sliced: Path, bare_machine: Path) -> None:
    folder = bare_machine / "hetsearch" / "data" / "fashion-mnist"
    folder.mkdir(parents=True)
    for path in sliced.glob("*.gz"):
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    assert len(named.open_named("fashion-mnist", "test")) == 500


@pytest.mark.parametrize("value", ["", "relative/path"])
def test_a_cache_variable_that_does_not_count(
    value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert named.cache_folder("mnist") == tmp_path / ".cache" / "hetsearch" / "data" / "mnist"


def test_a_file_that_is_not_the_published_one(sliced: Path, bare_machine: Path) -> None:
    folder = put(sliced, bare_machine / "hetsearch" / "data" / "fashion-mnist")
    path = folder / "t10k-images-idx3-ubyte.gz"
    payload = bytearray(gzip.decompress(path.read_bytes()))
    payload[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(payload)))
    with pytest.raises(DamagedArtifact, match=r"t10k-images-idx3-ubyte.gz' is not the published file.*md5"):
        named.open_named("fashion-mnist", "test")
    assert len(named.open_named("fashion-mnist", "train")) == 900


def test_compressed_again_is_the_same(sliced: Path, bare_machine: Path) -> None:
    folder = put(sliced, bare_machine / "hetsearch" / "data" / "fashion-mnist")
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=1))
    assert len(named.open_named("fashion-mnist", "test")) == 500


def test_absent_unknown_and_wrong_split(bare_machine: Path) -> None:
    with pytest.raises(DataError, match=r"not on this machine.*hetsearch data fetch fashion-mnist"):
        named.open_named("fashion-mnist", "test")
    with pytest.raises(DataError, match=r"no data set 'fashionmnist'.*Did you mean 'fashion-mnist'"):
        named.open_named("fashionmnist", "test")
    with pytest.raises(DataError, match=r"no split 'tests'.*Did you mean 'test'.*Known: test, train, val"):
        named.open_named("fashion-mnist", "tests")


@pytest.mark.skipif(WHOLE is None, reason="the whole FashionMNIST is not on this machine")
def test_the_published_files(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WHOLE is not None
    monkeypatch.setenv("HETSEARCH_DATA", str(WHOLE.parent))
    validation, test = (named.open_named("fashion-mnist", split) for split in ("validation", "test"))
    assert (len(validation), validation.keys[0], validation.keys[-1]) == (5_000, "train/55000", "train/59999")
    assert len(test) == 10_000
    assert test.labels is not None
    assert [test.labels.count(name) for name in test.classes] == [1_000] * 10
