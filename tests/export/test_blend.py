"""A blend of two encoders against the two themselves, blended by NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from hetsearch.bundle import BLEND, MODEL_CARD, ONNX, WEIGHTS, EncoderCard, Precision, read_card, write_card
from hetsearch.errors import HetsearchError, SpaceMismatch, UsageError
from hetsearch.export import export_bundle, parity
from hetsearch.export.blend import NOT_MEASURED, blend_bundles, require_blendable
from hetsearch.export.precision import store_weights_as_float16, store_weights_as_int8
from hetsearch.models.weights import load_network
from hetsearch.preprocess import InputSpec
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.space import EmbeddingSpace
from hetsearch.training.reference import Reference
from tests.support import OTHER_SPACE, SPACE, linear_bundle, linear_vectors

ZOO = Path(__file__).parents[2] / "zoo" / "fashion-mnist"
DIM = 16
# The query encoder normalises in its own way; the pixels are the same.
HEAVY, LIGHT = InputSpec(), InputSpec(mean=(0.286,), std=(0.353,))
STORED = {"float16": store_weights_as_float16, "int8-weights": store_weights_as_int8}


def heavy(tmp_path: Path, **changes: Any) -> OnnxEncoder:
    return load_encoder(linear_bundle(tmp_path / "heavy", **{"space": SPACE, "role": "gallery", **changes}))


def light(tmp_path: Path, **changes: Any) -> OnnxEncoder:
    return load_encoder(linear_bundle(tmp_path / "light", **{"space": SPACE, "seed": 1, "spec": LIGHT, **changes}))


def stored(folder: Path, precision: Precision) -> OnnxEncoder:
    """The same bundle with its weights in fewer bits."""
    model = STORED[precision](onnx.load(folder / ONNX))
    (folder / ONNX).write_bytes(model.SerializeToString())
    write_card(folder, read_card(folder, verify=False).model_copy(update={"precision": precision}))
    return load_encoder(folder)


def blended(g: np.ndarray, q: np.ndarray, share: float) -> np.ndarray:
    rows = (1 - share) * g.astype(np.float64) + share * q.astype(np.float64)
    return np.stack([row / np.sqrt((row * row).sum()) for row in rows])


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
def test_the_file_gives_the_blend_of_what_both_networks_compute(
    tmp_path: Path, share: float, fashion_test: tuple[np.ndarray, np.ndarray]
) -> None:
    report = blend_bundles(heavy(tmp_path), light(tmp_path), tmp_path / "b", share)
    pixels = fashion_test[0][:70, None]
    expected = blended(linear_vectors(pixels, DIM, HEAVY, 0), linear_vectors(pixels, DIM, LIGHT, 1), share)
    encoder = load_encoder(tmp_path / "b")
    np.testing.assert_allclose(encoder.encode_pixels(pixels), expected, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_pixels(pixels[:1]), expected[:1], atol=1e-5)
    assert (report.images, report.batches, report.largest_difference < 1e-6) == (42, (1, 2, 7), True)


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "channels"), [(14, 1), (20, 3)])
def test_a_query_encoder_of_smaller_pictures_gets_them_as_pillow_makes_them(
    tmp_path: Path, fashion_test: tuple[np.ndarray, np.ndarray], resample: str, size: int, channels: int
) -> None:
    form = {"channels": channels, "resample": resample, "mean": (0.5,) * channels, "std": (0.5,) * channels}
    large, small = InputSpec(**form), InputSpec(size=size, **form)
    blend_bundles(heavy(tmp_path, spec=large), light(tmp_path, spec=small), tmp_path / "b", 0.5)
    pictures = fashion_test[0][:40]
    pixels = np.repeat(pictures[:, None], channels, axis=1)
    pixels[:, -1] //= 2  # colours differ
    kinds = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    fewer = np.stack([
        [np.asarray(Image.fromarray(plane).resize((size, size), kinds[resample])) for plane in one] for one in pixels
    ])  # fmt: skip
    expected = blended(linear_vectors(pixels, DIM, large, 0), linear_vectors(fewer, DIM, small, 1), 0.5)
    found = load_encoder(tmp_path / "b").encode_pixels(pixels)
    assert (found * expected).sum(axis=1).min() > 0.9999
    if size == 14:  # half the side: to the last bit
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_released_pair_with_int8_weights(tmp_path: Path, fashion_test: tuple[np.ndarray, np.ndarray]) -> None:
    g, q = load_encoder(ZOO / "gallery-encoder"), load_encoder(ZOO / "query-encoder")
    blend_bundles(g, q, tmp_path / "b", 0.4)
    pixels = fashion_test[0][::40, None]
    expected = blended(g.encode_pixels(pixels), q.encode_pixels(pixels), 0.4)
    np.testing.assert_allclose(load_encoder(tmp_path / "b").encode_pixels(pixels), expected, atol=1e-5)
    card = read_card(tmp_path / "b")
    assert (card.precision, card.params) == ("int8-weights", g.card.params + q.card.params)
    assert card.numbers["paragon"] == g.card.numbers["paragon"]
    assert "validation" not in card.numbers  # M(b, b) is not M(g, g)


@pytest.mark.parametrize(
    ("precisions", "coarser"),
    [((None, "float16"), "float16"), (("int8-weights", "float16"), "int8-weights"), ((None, None), "float32")],
)
def test_files_in_fewer_bits(tmp_path: Path, precisions: tuple[Precision | None, ...], coarser: str) -> None:
    pair = [heavy(tmp_path), light(tmp_path)]
    pair = [one if bits is None else stored(one.folder, bits) for one, bits in zip(pair, precisions, strict=True)]
    blend_bundles(pair[0], pair[1], tmp_path / "b", 0.5)
    pixels = np.random.default_rng(3).integers(0, 256, (5, 1, 28, 28), dtype=np.uint8)
    expected = blended(pair[0].encode_pixels(pixels), pair[1].encode_pixels(pixels), 0.5)
    np.testing.assert_allclose(load_encoder(tmp_path / "b").encode_pixels(pixels), expected, atol=1e-5)
    assert read_card(tmp_path / "b").precision == coarser


def test_the_card_says_what_it_is_made_of(tmp_path: Path) -> None:
    g, q = heavy(tmp_path), light(tmp_path)
    report = blend_bundles(g, q, tmp_path / "b", 0.25, command="hetsearch blend g q")
    card = read_card(tmp_path / "b")
    assert (card.role, card.architecture, card.arguments, card.space) == ("gallery", BLEND, {"share": 0.25}, SPACE)
    assert (card.params, card.macs) == (g.card.params + q.card.params, g.card.macs + q.card.macs)
    assert (card.input, card.dim, card.parity) == (HEAVY, DIM, {**report.as_dict(), "batches": [1, 2, 7]})
    assert (card.training["command"], card.training["space"]) == ("hetsearch blend g q", SPACE)
    for name, encoder in (("gallery_encoder", g), ("query_encoder", q)):
        source = card.training[name]
        files = (encoder.folder / "encoder.json").read_text(encoding="utf-8")
        assert source["name"] == encoder.name
        assert f'"{ONNX}": "{source[ONNX]}"' in files
    assert card.numbers == {"blend": NOT_MEASURED}
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [MODEL_CARD, "encoder.json", ONNX]
    assert "`blend` share = 0.25" in (tmp_path / "b" / MODEL_CARD).read_text(encoding="utf-8")


def test_the_same_blend_again_is_the_same_file(tmp_path: Path) -> None:
    g, q = heavy(tmp_path), light(tmp_path)
    for name in "ab":
        blend_bundles(g, q, tmp_path / name, 0.5, measured={"measured": True})
    assert (tmp_path / "a" / ONNX).read_bytes() == (tmp_path / "b" / ONNX).read_bytes()
    assert read_card(tmp_path / "a").numbers == {"blend": {"measured": True}}


@pytest.mark.parametrize(
    ("mine", "theirs", "error", "message"),
    [
        ({}, {"space": OTHER_SPACE}, SpaceMismatch, f"observed {OTHER_SPACE}, expected {SPACE}"),
        ({"role": "query"}, {}, UsageError, "'.*heavy' is no gallery encoder: observed role query.*The order is"),
        ({}, {"role": "gallery"}, UsageError, "'.*light' is no query encoder: observed role gallery"),
        ({}, {"spec": InputSpec(size=32)}, UsageError, "other pictures .* observed size 32, expected size 28.*mean"),
        ({}, {"spec": InputSpec(size=20, resample="bicubic")}, UsageError, "observed resample bicubic, expected"),
        (
            {}, {"spec": InputSpec(background=0, fit="squash")}, UsageError,
            "observed fit squash, background 0, expected fit pad, background 255",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_blended(tmp_path: Path, mine: dict, theirs: dict, error: type, message: str) -> None:
    g, q = heavy(tmp_path, **mine), light(tmp_path, **theirs)
    for refuse in (lambda: require_blendable(g, q, tmp_path / "b"), lambda: blend_bundles(g, q, tmp_path / "b", 0.5)):
        with pytest.raises(error, match=message):
            refuse()
    assert not (tmp_path / "b").exists()


def test_a_blend_is_not_blended_again(tmp_path: Path) -> None:
    g, q = heavy(tmp_path), light(tmp_path)
    blend_bundles(g, q, tmp_path / "b", 0.5)
    b = load_encoder(tmp_path / "b")
    for pair in ((b, q), (g, b)):
        with pytest.raises(UsageError, match=r"b' is a blend already.*Blend the two encoders that it was made of"):
            blend_bundles(*pair, tmp_path / "c", 0.5)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    g, q = heavy(tmp_path), light(tmp_path)
    before = (g.folder / ONNX).read_bytes()
    for out in (g.folder, g.folder / ONNX):
        with pytest.raises(UsageError, match=r"is there already.*replaces nothing"):
            blend_bundles(g, q, out, 0.5)
    assert (g.folder / ONNX).read_bytes() == before
    (tmp_path / "empty").mkdir()
    assert blend_bundles(g, q, tmp_path / "empty", 0.5).images == 42


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_leaves_neither_encoder_out(tmp_path: Path, share: float) -> None:
    with pytest.raises(UsageError, match="more than 0 and less than 1"):
        blend_bundles(heavy(tmp_path), light(tmp_path), tmp_path / "b", share)


def test_files_of_two_versions_of_onnx(tmp_path: Path) -> None:
    g, q = heavy(tmp_path), light(tmp_path)
    model = onnx.load(q.folder / ONNX)
    model.opset_import[0].version = 16
    onnx.save(model, str(q.folder / ONNX))
    with pytest.raises(UsageError, match=r"observed versions 18 and 16 of 'ai\.onnx'.*hetsearch export"):
        blend_bundles(g, q, tmp_path / "b", 0.5)
    model.opset_import[0].version = 18
    model.ir_version -= 1  # an older format is no obstacle
    onnx.save(model, str(q.folder / ONNX))
    blend_bundles(g, q, tmp_path / "b", 0.5)


def test_files_too_old_to_resize(tmp_path: Path) -> None:
    g, q = heavy(tmp_path), light(tmp_path, spec=InputSpec(size=14))
    for side in (g, q):
        model = onnx.load(side.folder / ONNX)
        model.opset_import[0].version = 17
        onnx.save(model, str(side.folder / ONNX))
    with pytest.raises(UsageError, match=r"cannot resize as Pillow does: observed version 17, expected version 18"):
        blend_bundles(g, q, tmp_path / "b", 0.5)


def test_a_file_that_disagrees_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parity.SMALLEST_COSINE, "float32", 1.1)
    with pytest.raises(HetsearchError, match="against the two encoders blended in NumPy over 42 images"):
        blend_bundles(heavy(tmp_path), light(tmp_path), tmp_path / "b", 0.5)
    assert not (tmp_path / "b").exists()


def test_a_blend_has_no_network_to_train_or_export(tmp_path: Path) -> None:
    blend_bundles(heavy(tmp_path), light(tmp_path), tmp_path / "b", 0.5)
    card: EncoderCard = read_card(tmp_path / "b")
    assert not (tmp_path / "b" / WEIGHTS).exists()
    with pytest.raises(UsageError, match=r"b' is a blend of two encoders and has no weights.*hetsearch blend"):
        load_network(tmp_path / "b", card)
    with pytest.raises(UsageError, match="is a blend of two encoders"):
        export_bundle(tmp_path / "b")


def test_a_query_encoder_may_be_trained_against_a_blend(tmp_path: Path) -> None:
    """What a training takes of a gallery encoder are its vectors."""
    EmbeddingSpace(SPACE, DIM, "f" * 64).save(tmp_path / "run" / "space")
    blend_bundles(heavy(tmp_path), light(tmp_path), tmp_path / "run" / "gallery-encoder", 0.5)
    reference = Reference.open(tmp_path / "run")
    assert isinstance(reference.encoder, OnnxEncoder)
    assert (reference.encoder.card.architecture, reference.knows_embeddings) == (BLEND, True)
