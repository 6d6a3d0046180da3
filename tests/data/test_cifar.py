from __future__ import annotations

import builtins
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.cifar import parse_batch
from hetsearch.errors import DamagedArtifact
from tests.data.made import cifar_batch


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size=(5, 3072), dtype=np.uint8)


@pytest.mark.parametrize("by_column", [False, True])
def test_a_batch_reads_as_with_pickle_and_numpy(rows: np.ndarray, by_column: bool) -> None:
    payload = cifar_batch(rows, [3, 1, 4, 1, 9], by_column=by_column)
    reference = pickle.loads(payload, encoding="latin1")  # as torchvision does
    np.testing.assert_array_equal(reference["data"], rows)
    images, labels = parse_batch(payload, name="data_batch_1")
    np.testing.assert_array_equal(images, reference["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    assert (images.shape, images.dtype) == ((5, 32, 32, 3), np.uint8)
    assert labels.tolist() == reference["labels"] == [3, 1, 4, 1, 9]


def test_red_comes_first_and_rows_go_down() -> None:
    pixels = np.zeros((1, 3072), dtype=np.uint8)
    pixels[0, 0], pixels[0, 33], pixels[0, 1024], pixels[0, 3071] = 1, 2, 3, 4
    image = parse_batch(cifar_batch(pixels, [0]), name="x")[0][0]
    assert (image[0, 0].tolist(), image[1, 1].tolist(), image[31, 31].tolist()) == ([1, 3, 0], [2, 0, 0], [0, 0, 4])


class _Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("call", ["system", "exec", "getattr"])
def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, protocol: int, call: str) -> None:
    victim = tmp_path / "made"
    evil = {
        "system": _Call(os.system, f"touch {victim}"),
        "exec": _Call(builtins.exec, f"open({str(victim)!r}, 'w')"),
        "getattr": _Call(builtins.getattr, "text", "upper"),
    }[call]
    payload = pickle.dumps(evil, protocol=protocol)
    with pytest.raises(DamagedArtifact, match=rf"'x' is not a CIFAR-10 batch.*it asks for \w+\.{call}"):
        parse_batch(payload, name="x")
    assert not victim.exists()


def test_not_even_numpy_runs(rows: np.ndarray) -> None:
    for function in (np.load, np.memmap, np.ndarray.tofile):
        payload = pickle.dumps(_Call(function, "x"), protocol=4)
        with pytest.raises(DamagedArtifact, match="it asks for"):
            parse_batch(payload, name="x")


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "EOFError"),
        (b"\x80\x02}(U\x04da", "UnpicklingError|EOFError"),
        (b"not a pickle", "Error"),
        (pickle.dumps([1, 2]), "no dictionary with data and labels"),
        (pickle.dumps({b"labels": [1]}), "no dictionary with data and labels"),
        (pickle.dumps({b"labels": [10], b"data": 0}), "labels that are not numbers below 10"),
        (pickle.dumps({b"labels": "01", b"data": 0}), "labels that are not numbers below 10"),
        (pickle.dumps({b"labels": [True], b"data": 0}), "labels that are not numbers below 10"),
        (pickle.dumps({b"labels": [1], b"data": b"\0" * 3072}), "data that is no array"),
        (cifar_batch(np.zeros((2, 3072), np.uint8), [1]), r"shape \(2, 3072\) for 1 labels"),
        (cifar_batch(np.zeros((1, 3071), np.uint8), [1]), r"3,071 values .* shape \(1, 3071\)"),
        (cifar_batch(np.zeros((1, 3072), np.uint8), [1]).replace(b"u1", b"i1"), "values of type b'i1'"),
        (cifar_batch(np.zeros((1, 3072), np.uint8), [1])[:-900], "UnpicklingError|EOFError"),
    ],
)
def test_what_is_no_batch(payload: bytes, message: str) -> None:
    with pytest.raises(DamagedArtifact, match=f"'x' is not a CIFAR-10 batch: observed .*({message})"):
        parse_batch(payload, name="x")
