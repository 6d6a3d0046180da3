from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from hetsearch.bundle import read_card, write_card
from hetsearch.errors import DamagedArtifact, DataError, ImageError, UsageError
from hetsearch.preprocess import InputSpec, preprocess
from hetsearch.runtime import OnnxEncoder, load_encoder
from tests.support import OTHER_SPACE, SPACE, linear_bundle, linear_vectors

SPEC = InputSpec(size=12, channels=3, mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.3))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return linear_bundle(tmp_path / "tiny", space=SPACE, spec=SPEC, seed=3)


@pytest.fixture
def encoder(bundle: Path) -> OnnxEncoder:
    return load_encoder(bundle)


def pixels_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3, 12, 12), dtype=np.uint8)


def change_byte(path: Path, place: int = -20) -> None:
    payload = bytearray(path.read_bytes())
    payload[place] ^= 1
    path.write_bytes(payload)


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 130])
def test_pixels_to_vectors_as_numpy_computes_them(encoder: OnnxEncoder, count: int) -> None:
    pixels = pixels_of(count)
    vectors = encoder.encode_pixels(pixels)
    assert (vectors.shape, vectors.dtype) == ((count, 16), np.float32)
    assert np.allclose(vectors, linear_vectors(pixels, 16, SPEC, seed=3), atol=2e-6)


def test_every_form_of_an_image_gives_the_same_vector(encoder: OnnxEncoder, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / "ein Bild – 写真.png"
    Image.fromarray(array).save(path)
    forms = [str(path), path, path.read_bytes(), Image.open(path), array]
    together = encoder.encode(forms)
    assert together.space == SPACE
    assert together.keys == (str(path), str(path), "2", "3", "4")
    expected = linear_vectors(preprocess(array, SPEC)[None], 16, SPEC, seed=3)
    assert np.allclose(together.vectors, np.repeat(expected, 5, axis=0), atol=2e-6)
    for number, form in enumerate(forms):
        alone = encoder.encode(form)
        assert alone.keys == ("0",) if number > 1 else (str(path),)
        assert np.allclose(alone.vectors, expected, atol=2e-6)


def test_an_array_with_one_axis_more_is_many_images(encoder: OnnxEncoder) -> None:
    grey = np.random.default_rng(1).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    assert encoder.encode(grey).vectors.shape == (5, 16)
    assert encoder.encode(grey[0]).vectors.shape == (1, 16)
    assert encoder.encode(np.stack([grey] * 3, axis=-1)).vectors.shape == (5, 16)


def test_keys_are_taken_and_counted(encoder: OnnxEncoder) -> None:
    image = np.zeros((4, 4), np.uint8)
    assert encoder.encode([image, image], keys=["a", "b"]).keys == ("a", "b")
    with pytest.raises(DataError, match="do not match"):
        encoder.encode([image, image], keys=["a"])


@pytest.mark.parametrize("bands", [1, 2, 4])
def test_an_array_of_other_bands_is_not_taken_for_many(encoder: OnnxEncoder, bands: int) -> None:
    with pytest.raises(ImageError, match=rf"observed uint8 \(28, 20, {bands}\), expected uint8 \(height, width\) or"):
        encoder.encode(np.zeros((28, 20, bands), np.uint8))


def test_one_that_is_no_picture_is_named_among_many(encoder: OnnxEncoder) -> None:
    image = np.zeros((4, 4), np.uint8)
    for wrong in (b"", b"no picture", np.zeros((4, 4)), np.zeros((0, 4), np.uint8), None, ["a", "b"]):
        with pytest.raises(ImageError, match="picture '2': "):
            encoder.encode([image, image, wrong, image])
        with pytest.raises(ImageError, match="picture 'shoe': "):
            encoder.encode([wrong], keys=["shoe"])


@pytest.mark.parametrize("images", [None, 7, io.BytesIO(b"a\nb"), bytearray(b"ab"), memoryview(b"ab")])
def test_what_gives_no_pictures(encoder: OnnxEncoder, images: object) -> None:
    with pytest.raises(UsageError, match=f"nothing to embed in this: observed {type(images).__name__}, expected"):
        encoder.encode(images)


def test_pictures_may_come_from_a_generator(encoder: OnnxEncoder) -> None:
    assert encoder.encode(np.full((4, 4), value, np.uint8) for value in range(3)).keys == ("0", "1", "2")


def test_no_images_give_no_vectors(encoder: OnnxEncoder) -> None:
    found = encoder.encode([])
    assert found.vectors.shape == (0, 16)
    assert found.keys == ()


def test_an_unreadable_image_is_named(encoder: OnnxEncoder, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg"):
        encoder.encode([tmp_path / "empty.jpg"])


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 3, 12, 12), np.float32),
        np.zeros((3, 12, 12), np.uint8),
        np.zeros((2, 1, 12, 12), np.uint8),
        np.zeros((2, 3, 12, 13), np.uint8),
    ],
)
def test_other_pixels_are_refused(encoder: OnnxEncoder, pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"do not fit the encoder.*expected uint8 \(n, 3, 12, 12\)"):
        encoder.encode_pixels(pixels)


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "README.md"])
def test_a_changed_byte_is_found(bundle: Path, name: str) -> None:
    change_byte(bundle / name)
    with pytest.raises(DamagedArtifact, match=f"{name}' was changed after it was written"):
        load_encoder(bundle)


def test_a_released_bundle_may_lack_its_weights(bundle: Path) -> None:
    (bundle / "model.safetensors").unlink()
    assert load_encoder(bundle).encode(np.zeros((4, 4), np.uint8)).vectors.shape == (1, 16)


def test_a_bundle_without_onnx_names_the_export(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()
    with pytest.raises(UsageError, match="hetsearch export"):
        load_encoder(bundle)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not an encoder bundle"):
        load_encoder(tmp_path)


def test_no_threads(bundle: Path) -> None:
    with pytest.raises(UsageError, match="threads=0"):
        load_encoder(bundle, threads=0)


def test_a_file_that_onnx_runtime_refuses(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    card = read_card(bundle)
    (bundle / "model.onnx").write_bytes(b"no network" * 100)
    write_card(bundle, card)  # so that the checksum holds
    with pytest.raises(DamagedArtifact, match="refused by ONNX Runtime"):
        load_encoder(bundle)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("field", "value"),
    [("space", OTHER_SPACE), ("dim", 17), ("input", SPEC.model_copy(update={"background": 0}))],
)
def test_metadata_that_disagrees_with_the_card(bundle: Path, field: str, value: object) -> None:
    write_card(bundle, read_card(bundle).model_copy(update={field: value}))
    with pytest.raises(DamagedArtifact, match=f"disagree about '{field}'"):
        load_encoder(bundle)


def test_the_network_of_another_space_in_a_bundle(bundle: Path, tmp_path: Path) -> None:
    other = linear_bundle(tmp_path / "other", space=OTHER_SPACE, spec=SPEC)
    shutil.copy(other / "model.onnx", bundle / "model.onnx")
    with pytest.raises(DamagedArtifact, match=f"observed {OTHER_SPACE}, expected {SPACE}"):
        load_encoder(bundle, verify=False)


def _without_metadata(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def _with_broken_metadata(model: onnx.ModelProto) -> None:
    helper.set_model_props(
        model, {"hetsearch.space": SPACE, "hetsearch.dim": "16", "hetsearch.input": "no JSON"}
    )


def _with_another_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "raw"


@pytest.mark.parametrize(
    ("change", "name"),
    [(_without_metadata, "space"), (_with_broken_metadata, "input"), (_with_another_output, "outputs")],
)
def test_a_foreign_network(bundle: Path, change: Callable[[onnx.ModelProto], None], name: str) -> None:
    model = onnx.load(str(bundle / "model.onnx"))
    change(model)
    onnx.save(model, str(bundle / "model.onnx"))
    with pytest.raises(DamagedArtifact, match=f"disagree about '{name}'"):
        load_encoder(bundle, verify=False)


def test_jpeg_bytes(encoder: OnnxEncoder) -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (9, 9), (10, 20, 30, 40)).save(buffer, "JPEG")
    vectors = encoder.encode(buffer.getvalue()).vectors
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)


def test_the_light_rooms_never_import_torch(bundle: Path) -> None:
    code = (
        "import json, sys\n"
        "import hetsearch, hetsearch.runtime, hetsearch.gallery, hetsearch.query\n"
        "light = sorted(sys.modules)\n"
        f"hetsearch.load_encoder({str(bundle)!r})\n"
        "print(json.dumps([light, sorted(sys.modules)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for modules in json.loads(done.stdout):
        assert not {"torch", "torchvision", "timm"} & set(modules)
        assert not {"faiss", "pyarrow"} & set(modules)
    assert done.stderr == ""
