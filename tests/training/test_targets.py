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
