from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hetsearch.data import Failure, ImageSet, iter_pixels, load_pixels
from hetsearch.data.images import ArrayReader, PathReader
from hetsearch.errors import ImageError, UsageError
from hetsearch.preprocess import InputSpec

SPEC = InputSpec(size=8)


def arrays(count: int) -> tuple[ImageSet, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8), dtype=np.uint8)
    return ImageSet("arrays", tuple(map(str, range(count))), ArrayReader(pixels)), pixels


@pytest.fixture
def with_two_damaged(tmp_path: Path) -> ImageSet:
    names = [f"{position}.png" for position in range(6)]
    for position, name in enumerate(names):
        Image.new("L", (8, 8), position).save(tmp_path / name)
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "3.png").write_text("not a picture")
    return ImageSet("six", tuple(names), PathReader(tuple(tmp_path / name for name in names)))


def test_load_pixels_gives_the_same_bytes_at_the_same_size() -> None:
    images, pixels = arrays(5)
    loaded = load_pixels(images, SPEC)
    assert loaded.dtype == np.uint8
    assert loaded.flags.writeable
    np.testing.assert_array_equal(loaded, pixels[:, None])


def test_load_pixels_in_colour_repeats_grey() -> None:
    images, pixels = arrays(2)
    spec = InputSpec(size=8, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    np.testing.assert_array_equal(load_pixels(images, spec), np.repeat(pixels[:, None], 3, axis=1))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 8, 100])
def test_batches_together_are_the_whole(batch_size: int) -> None:
    images, pixels = arrays(7)
    failures: list[Failure] = []
    batches = list(iter_pixels(images, SPEC, batch_size, failures))
    assert [len(indices) for indices, _ in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert [index for indices, _ in batches for index in indices] == list(range(7))
    np.testing.assert_array_equal(np.concatenate([batch for _, batch in batches]), pixels[:, None])
    assert failures == []


def test_unreadable_images_are_left_out_and_noted(with_two_damaged: ImageSet) -> None:
    failures: list[Failure] = []
    batches = list(iter_pixels(with_two_damaged, SPEC, 2, failures))
    assert [indices for indices, _ in batches] == [[1, 2], [4, 5]]
    assert [batch[:, 0, 0, 0].tolist() for _, batch in batches] == [[1, 2], [4, 5]]
    assert [failure.key for failure in failures] == ["0.png", "3.png"]
    assert "is empty" in failures[0].reason
    assert "cannot be read as an image" in failures[1].reason


def test_no_batch_is_empty(with_two_damaged: ImageSet) -> None:
    failures: list[Failure] = []
    assert list(iter_pixels(with_two_damaged.subset([0, 3]), SPEC, 2, failures)) == []
    assert len(failures) == 2


def test_load_pixels_stops_at_the_first_unreadable_image(with_two_damaged: ImageSet) -> None:
    with pytest.raises(ImageError, match=r"0.png' is empty"):
        load_pixels(with_two_damaged, SPEC)


def test_a_batch_size_of_zero_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match=r"batch size.*observed 0"):
        iter_pixels(arrays(1)[0], SPEC, 0, [])
