"""CIFAR-10 as a named set, from miniature batches in the real format. (FashionMNIST: test_named.py.)"""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data import named, open_source
from hetsearch.data.fetch import fetch
from hetsearch.data.published import CIFAR, PublishedSet
from hetsearch.errors import DamagedArtifact, DataError
from hetsearch.preprocess import InputSpec, preprocess
from tests.data.made import COPY, cifar_batch, script

ROWS = 8  # of a batch
SPEC = InputSpec(size=32, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, size=(ROWS, 3072), dtype=np.uint8)


def labels(number: int) -> list[int]:
    return [(number + row) % 10 for row in range(ROWS)]


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def batches(bare_machine: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """cifar10 is six batches of eight images, of which the last five training images are for validation."""
    files = {
        name: cifar_batch(pixels(number), labels(number)) for number, name in enumerate((*CIFAR.train, *CIFAR.test))
    }
    files["batches.meta"] = pickle.dumps({b"label_names": [name.encode() for name in CLASSES]}, protocol=2)
    _publish(files, monkeypatch)
    return files


def _publish(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    entry = named.NAMED["cifar10"]
    assert isinstance(entry, PublishedSet)
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    assert md5.keys() == entry.md5.keys()
    monkeypatch.setitem(named.NAMED, "cifar10", replace(entry, md5=md5, validation=5))


def test_splits_keys_labels_and_colours(batches: dict[str, bytes], bare_machine: Path) -> None:
    put(bare_machine / "hetsearch" / "data" / "cifar10", batches)
    train, validation, test = (open_source(f"cifar10:{split}") for split in named.SPLITS)
    assert (len(train), len(validation), len(test)) == (35, 5, 8)
    assert (train.name, train.keys[0], validation.keys[0], validation.keys[-1], test.keys[-1]) == (
        "cifar10:train", "train/00000", "train/00035", "train/00039", "test/00007",
    )  # fmt: skip
    whole = np.concatenate([pixels(number) for number in range(5)]).reshape(-1, 3, 32, 32)
    for images, start in ((train, 0), (validation, 35)):
        for place in range(len(images)):
            np.testing.assert_array_equal(preprocess(images.read(place), SPEC), whole[start + place])
    assert test.labels == tuple(CLASSES[number] for number in labels(5))
    assert (*(train.labels or ()), *(validation.labels or ())) == tuple(
        CLASSES[number] for batch in range(5) for number in labels(batch)
    )


def test_the_real_sizes_of_the_splits() -> None:
    entry = named.NAMED["cifar10"]
    assert isinstance(entry, PublishedSet)
    assert (entry.validation, len(entry.layout.train), entry.classes) == (5_000, 5, CLASSES)


def test_another_batch_is_not_the_published_one(batches: dict[str, bytes], bare_machine: Path) -> None:
    folder = put(bare_machine / "hetsearch" / "data" / "cifar10", batches)
    (folder / "data_batch_3").write_bytes(batches["data_batch_2"])
    with pytest.raises(DamagedArtifact, match=r"data_batch_3' is not the published file.*md5"):
        open_source("cifar10:train")
    assert len(open_source("cifar10:test")) == 8


def test_an_evil_batch_is_refused_even_with_the_right_checksum(
    batches: dict[str, bytes], bare_machine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    evil = f"cos\nsystem\n(U{chr(len(str(tmp_path)) + 12)}touch {tmp_path}/victimtR."
    batches["test_batch"] = evil.encode("latin1")
    _publish(batches, monkeypatch)
    put(bare_machine / "hetsearch" / "data" / "cifar10", batches)
    with pytest.raises(DamagedArtifact, match=r"test_batch' is not a CIFAR-10 batch: observed .*it asks for os.system"):
        open_source("cifar10:test")
    assert not (tmp_path / "victim").exists()


def test_a_file_is_missing(batches: dict[str, bytes], bare_machine: Path) -> None:
    folder = put(bare_machine / "hetsearch" / "data" / "cifar10", batches)
    (folder / "test_batch").unlink()
    with pytest.raises(DataError, match=r"'cifar10' is not on this machine.*hetsearch data fetch cifar10"):
        open_source("cifar10:train")


def test_torchvision_brings_it(
    batches: dict[str, bytes], bare_machine: Path, programs: Path, tmp_path: Path
) -> None:
    source = put(tmp_path / "download" / "cifar-10-batches-py", {**batches, "readme.html": b"x"})
    script(programs, "python", f'echo "$2" > "{programs}/code"; "{COPY}" -r "{source}" "$3"')
    told: list[str] = []
    folder = fetch("cifar10", tell=told.append)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == batches
    assert "from torchvision.datasets import CIFAR10; CIFAR10(" in (programs / "code").read_text()
    assert told == ["fetching cifar10 with torchvision.datasets.CIFAR10"]
    assert len(open_source("cifar10:validation")) == 5
