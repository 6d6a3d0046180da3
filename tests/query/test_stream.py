from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hetsearch.errors import ImageError, UsageError
from hetsearch.preprocess import InputSpec, preprocess
from hetsearch.query import encode_stream
from hetsearch.runtime import load_encoder
from tests.support import SPACE, linear_bundle, linear_vectors

SPEC = InputSpec()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return linear_bundle(tmp_path / "tiny", space=SPACE, seed=5)


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 30, 20), dtype=np.uint8))


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (4, [4]), (9, [4, 4, 1])])
def test_batches_are_what_one_call_would_give(bundle: Path, count: int, sizes: list[int]) -> None:
    found = list(encode_stream(load_encoder(bundle), iter(pictures(count)), batch_size=4))
    assert [len(batch) for batch in found] == sizes
    assert [key for batch in found for key in batch.keys] == [str(place) for place in range(count)]
    assert {batch.space for batch in found} <= {SPACE}
    for batch in found:
        rows = [preprocess(pictures(count)[int(key)], SPEC) for key in batch.keys]
        assert np.allclose(batch.vectors, linear_vectors(np.stack(rows), 16, SPEC, seed=5), atol=2e-6)


def test_nothing_is_taken_before_it_is_asked_for(bundle: Path, tmp_path: Path) -> None:
    taken = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            taken.append(1)
            yield np.zeros((5, 5), np.uint8)

    stream = encode_stream(load_encoder(bundle), endless(), batch_size=3)
    assert not taken
    next(stream)
    assert len(taken) == 3


def test_paths_are_keys_and_one_that_cannot_be_read_is_named(bundle: Path, tmp_path: Path) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    stream = encode_stream(load_encoder(bundle), [tmp_path / "a.png", tmp_path / "b.png"], batch_size=1)
    assert next(stream).keys == (str(tmp_path / "a.png"),)
    with pytest.raises(ImageError, match=r"b\.png"):
        next(stream)


def test_one_picture_is_a_stream_of_one(bundle: Path, tmp_path: Path) -> None:
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    encoder = load_encoder(bundle)
    for one in (str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes(), np.zeros((9, 9), np.uint8)):
        [batch] = encode_stream(encoder, one)
        assert np.array_equal(batch.vectors, encoder.encode(one).vectors)
    assert [len(batch) for batch in encode_stream(encoder, np.zeros((5, 9, 9), np.uint8), batch_size=3)] == [3, 2]
    with pytest.raises(UsageError, match="nothing to embed in this: observed int"):
        encode_stream(encoder, 7)


def test_no_batch(bundle: Path) -> None:
    with pytest.raises(UsageError, match="observed 0, expected at least 1"):
        encode_stream(load_encoder(bundle), [], batch_size=0)
