from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from hetsearch.errors import MissingExtra, UsageError
from hetsearch.preprocess import InputSpec
from hetsearch.runtime import load_encoder
from tests.support import SPACE, linear_bundle, linear_vectors

SPEC = InputSpec(size=12, channels=3, mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.3))
RELEASED = Path(__file__).parents[2] / "zoo" / "fashion-mnist"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return linear_bundle(tmp_path / "tiny", space=SPACE, spec=SPEC, seed=3)


def pixels_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, 12, 12), dtype=np.uint8)


@pytest.mark.parametrize("count", [0, 1, 2, 65])
def test_openvino_gives_what_numpy_computes(bundle: Path, count: int) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    encoder = load_encoder(bundle, backend="openvino")
    pixels = pixels_of(count)
    vectors = encoder.encode_pixels(pixels)
    assert (vectors.shape, vectors.dtype) == ((count, 16), np.float32)
    assert np.allclose(vectors, linear_vectors(pixels, 16, SPEC, seed=3), atol=2e-6)


@pytest.mark.parametrize("name", ["query-encoder", "gallery-encoder"])
def test_both_back_ends_embed_real_pictures_alike(name: str, fashion_test: tuple[np.ndarray, np.ndarray]) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    pictures = fashion_test[0][:: 100 if name == "gallery-encoder" else 10]
    first = load_encoder(RELEASED / name).encode(pictures)
    second = load_encoder(RELEASED / name, backend="openvino").encode(pictures)
    assert (first.space, first.keys) == (second.space, second.keys)
    assert np.einsum("nd,nd->n", first.vectors, second.vectors).min() > 0.99999


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_threads_do_not_mix_their_answers(bundle: Path, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    encoder = load_encoder(bundle, backend=backend)
    batches = [pixels_of(1 + number % 5) for number in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoder.encode_pixels, batches))
    for pixels, vectors in zip(batches, found, strict=True):
        assert np.allclose(vectors, linear_vectors(pixels, 16, SPEC, seed=3), atol=2e-6)


def test_an_unknown_back_end(bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"no back-end 'onnx'. Did you mean 'onnxruntime'\? Known: .*openvino"):
        load_encoder(bundle, backend="onnx")


def test_a_back_end_that_is_not_installed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"'openvino' is not installed.*hetsearch\[openvino\]"):
        load_encoder(bundle, backend="openvino")
