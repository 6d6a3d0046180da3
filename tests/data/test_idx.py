from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.idx import decompress, parse_idx, read_idx, to_idx, to_idx_gz
from hetsearch.errors import DamagedArtifact

# Written by hand from the description of the format: two images of 2 × 3.
HEADER = bytes.fromhex("00000803 00000002 00000002 00000003")
PAYLOAD = HEADER + bytes(range(12))


def test_a_file_written_by_hand(tmp_path: Path) -> None:
    expected = np.arange(12).reshape(2, 2, 3)
    (tmp_path / "raw").write_bytes(PAYLOAD)
    (tmp_path / "packed.gz").write_bytes(gzip.compress(PAYLOAD))
    for name in ("raw", "packed.gz"):
        np.testing.assert_array_equal(read_idx(tmp_path / name), expected)


@pytest.mark.parametrize("shape", [(5,), (0,), (3, 28, 28), (2, 4, 5, 3)])
def test_writing_and_reading(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    packed = to_idx_gz(array)
    np.testing.assert_array_equal(parse_idx(gzip.decompress(packed), name="x"), array)
    assert packed == to_idx_gz(array)


def test_writing_is_the_format(tmp_path: Path) -> None:
    assert to_idx(np.arange(12, dtype=np.uint8).reshape(2, 2, 3)) == PAYLOAD


def test_the_committed_slice_is_balanced() -> None:
    folder = Path(__file__).parent.parent / "fixtures" / "fashion-mnist"
    for prefix, count in (("train", 100), ("t10k", 50)):
        images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
        assert images.shape == (10 * count, 28, 28)
        assert np.bincount(labels).tolist() == [count] * 10


NO_DIMENSION = b"\0\0\x08\0x"
TOO_MANY_DIMENSIONS = b"\0\0\x08\xff" + b"\0\0\0\x01" * 255 + b"x"
NO_IDX = [b"", b"\0\0\x08", b"\x89PNG\r\n", b"\0\0\x0d\x01\0\0\0\0", HEADER[:10], NO_DIMENSION, TOO_MANY_DIMENSIONS]


@pytest.mark.parametrize("payload", NO_IDX)
def test_what_is_no_idx_file(payload: bytes) -> None:
    with pytest.raises(DamagedArtifact, match="'labels' is not an idx file"):
        parse_idx(payload, name="labels")


@pytest.mark.parametrize("payload", [PAYLOAD[:-1], PAYLOAD + b"\0"])
def test_a_length_that_the_header_does_not_say(payload: bytes) -> None:
    with pytest.raises(DamagedArtifact, match=r"'images' is not whole: observed 1[13] values, expected 12"):
        parse_idx(payload, name="images")


def test_sizes_whose_product_is_beyond_64_bits() -> None:
    with pytest.raises(DamagedArtifact, match="observed 0 values, expected 18,446,744,073,709,551,616"):
        parse_idx(b"\0\0\x08\x04" + b"\0\x01\0\0" * 4, name="images")


@pytest.mark.parametrize(
    "content",
    [
        to_idx_gz(np.zeros(999, np.uint8))[:-9],
        b"\x1f\x8b no gzip",
        b"\x1f\x8b\x08" + b"\0" * 7 + b"\xff" * 9,
    ],
)
def test_a_broken_gzip_stream(content: bytes) -> None:
    with pytest.raises(DamagedArtifact, match=r"'images.gz' cannot be read.*Fetch it again"):
        decompress(content, name="images.gz")
