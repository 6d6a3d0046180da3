from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetsearch.runtime import load_encoder
from hetsearch.training import targets


def test_targets_are_computed_once_and_survive_a_damaged_cache(
    space: Path, fashion_test: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pixels = np.ascontiguousarray(fashion_test[0][:30, None])
    encoder = load_encoder(space / "gallery-encoder")
    expected = encoder.encode_pixels(pixels)
    np.testing.assert_allclose(targets.cached_vectors(encoder, pixels), expected, atol=1e-6)
    (file,) = (tmp_path / "hetsearch" / "targets").iterdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "_embed", lambda *_: pytest.fail("embedded twice"))
        np.testing.assert_allclose(targets.cached_vectors(encoder, pixels), expected, atol=1e-6)
    damaged = bytearray(file.read_bytes())
    damaged[-3] ^= 1
    file.write_bytes(damaged)
    np.testing.assert_allclose(targets.cached_vectors(encoder, pixels), expected, atol=1e-6)


class Another:
    """An encoder that turns another one's vectors round."""

    def __init__(self, encoder: Any, space: str) -> None:
        self.encoder, self.space, self.dim = encoder, space, encoder.dim
        self.asked = 0

    def encode_pixels(self, pixels: Any) -> Any:
        self.asked += len(pixels)
        return np.ascontiguousarray(self.encoder.encode_pixels(pixels)[:, ::-1])


def test_the_cache_of_one_encoder_is_not_anothers(
    space: Path, fashion_test: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pixels = np.ascontiguousarray(fashion_test[0][:30, None])
    encoder = load_encoder(space / "gallery-encoder")
    first = targets.cached_vectors(encoder, pixels)
    again = targets.cached_vectors(Another(encoder, encoder.space), pixels)  # another precision of it, say
    np.testing.assert_allclose(again, first[:, ::-1], atol=1e-6)
    stranger = Another(encoder, "sp_0000000000000000")
    targets.cached_vectors(stranger, pixels)
    assert stranger.asked >= len(pixels)  # although its vectors, and so the probe, are those of the one before


def test_a_file_of_another_space_is_not_believed(
    space: Path, fashion_test: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pixels = np.ascontiguousarray(fashion_test[0][:30, None])
    encoder = Another(load_encoder(space / "gallery-encoder"), "sp_1111111111111111")
    targets.cached_vectors(encoder, pixels)
    (file,) = (tmp_path / "hetsearch" / "targets").iterdir()
    file.rename(file.with_name(file.name.replace("sp_1111111111111111", "sp_2222222222222222")))
    stranger = Another(encoder.encoder, "sp_2222222222222222")
    targets.cached_vectors(stranger, pixels)
    assert stranger.asked >= len(pixels)


def test_targets_of_mirror_images_and_of_a_part(space: Path, fashion_test: Any) -> None:
    pixels = np.ascontiguousarray(fashion_test[0][:20, None])
    encoder = load_encoder(space / "gallery-encoder")
    both = targets.training_targets(encoder, pixels, mirrored=True, limit=None)
    mirror = np.ascontiguousarray(pixels[..., ::-1])
    np.testing.assert_allclose(both[1], encoder.encode_pixels(mirror), atol=1e-6)
    part = targets.training_targets(encoder, pixels, mirrored=False, limit=5)
    known = part[0].any(axis=1)
    assert known.sum() == 5
    assert not part[1].any()
    np.testing.assert_allclose(part[0][known], both[0][known], atol=1e-6)


def test_a_killed_job_goes_on_at_the_block_where_it_was(
    space: Path, fashion_test: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(targets, "BLOCK", 8)
    pixels = np.ascontiguousarray(fashion_test[0][:20, None])
    encoder, embed, sizes = load_encoder(space / "gallery-encoder"), targets._embed, []

    def counted(encoder: Any, block: Any, bar: Any) -> Any:
        if sizes == [8]:
            raise KeyboardInterrupt
        sizes.append(len(block))
        return embed(encoder, block, bar)

    monkeypatch.setattr(targets, "_embed", counted)
    with pytest.raises(KeyboardInterrupt):
        targets.cached_vectors(encoder, pixels)
    assert capsys.readouterr().err.count("embedding images") == 2
    sizes.append(0)
    np.testing.assert_allclose(targets.cached_vectors(encoder, pixels), encoder.encode_pixels(pixels), atol=1e-6)
    assert sizes == [8, 0, 8, 4]  # the first block was kept
    assert "8 to 16 of 20" in capsys.readouterr().err
