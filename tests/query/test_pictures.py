from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from hetsearch.errors import ImageError, UsageError
from hetsearch.query import encode_files, load_encoder
from hetsearch.runtime import OnnxEncoder
from tests.support import SPACE, linear_bundle


@pytest.fixture
def encoder(tmp_path: Path) -> OnnxEncoder:
    return load_encoder(linear_bundle(tmp_path / "tiny", space=SPACE))


def test_one_that_cannot_be_read_does_not_stop_the_others(encoder: OnnxEncoder, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "empty.png", "b.png")]
    for path in paths:
        path.touch() if path.stem == "empty" else Image.new("L", (9, 9)).save(path)
    found, failures = encode_files(encoder, paths)
    assert found.keys == (str(paths[0]), str(paths[2]))
    assert (found.vectors.shape, found.space) == ((2, 16), SPACE)
    [failure] = failures
    assert failure.key == str(paths[1])
    assert "is empty: observed 0 bytes" in failure.reason
    with pytest.raises(ImageError, match=r"no picture can be read: observed 2 failures, first: .*is empty"):
        encode_files(encoder, [paths[1], paths[1]])
    with pytest.raises(ImageError, match=r"empty\.png' is empty"):
        encode_files(encoder, [paths[1]])


@pytest.mark.parametrize("paths", [[], (), "a.png", Path("a.png")])
def test_no_pictures(encoder: OnnxEncoder, paths: object) -> None:
    with pytest.raises(UsageError, match=r"there are no pictures to embed: observed .*expected a sequence of paths"):
        encode_files(encoder, paths)


def test_files_that_are_not_there(encoder: OnnxEncoder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no picture '.*absent\.png' and 1 more"):
        encode_files(encoder, [tmp_path / "absent.png", tmp_path])
    with pytest.raises(UsageError, match="there is no picture 'aaa"):
        encode_files(encoder, ["a" * 5_000])
