from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hetsearch.bundle import read_card, write_card
from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.errors import DataError, GateNotMet, UsageError
from hetsearch.evaluation import evaluate_embeddings
from hetsearch.evaluation.quantised import Change, Comparison, compare_files, gallery_vectors, require_better
from hetsearch.preprocess import InputSpec
from hetsearch.runtime import load_encoder
from tests.support import SPACE, linear_bundle, linear_weights

BETTER = Comparison(
    precision="int8", data="some", n_queries=9, bytes=(4, 1), smallest_cosine=0.99, mean_cosine=0.999,
    quality={"map": Change(0.92, 0.9199, (-0.0004, 0.0002))},
    milliseconds={"onnxruntime": {1: Change(0.10, 0.08, (-0.03, -0.01)), 64: Change(4.0, 4.1, (-0.1, 0.3))}},
)  # fmt: skip


def bundles(folder: Path, step: float) -> tuple[Path, Path]:
    """One bundle, and one whose weights are rounded to multiples of ``step``."""
    matrix, bias = linear_weights(16, InputSpec(), 0)
    before = linear_bundle(folder / "before", space=SPACE, weights=(matrix, bias))
    after = linear_bundle(folder / "after", space=SPACE, weights=(np.round(matrix / step) * np.float32(step), bias))
    write_card(after, read_card(after).model_copy(update={"precision": "int8"}))
    return before, after


def some(labelled: tuple[np.ndarray, np.ndarray], count: int = 120) -> ImageSet:
    pixels, labels = labelled[0][::4][:count], labelled[1][::4][:count]
    return ImageSet("some", tuple(map(str, range(len(pixels)))), ArrayReader(pixels), tuple(map(str, labels)))


def test_the_comparison_is_what_arrays_alone_give(tmp_path: Path, fashion_test: tuple[np.ndarray, np.ndarray]) -> None:
    before, after = bundles(tmp_path, 0.02)
    images = some(fashion_test)
    heavy = gallery_vectors(load_encoder(before), images)
    found = compare_files(before, after, images, heavy, backends=("onnxruntime",), rounds=2)
    rounded = load_encoder(after).encode_pixels(fashion_test[0][::4][:120, None])
    expected = evaluate_embeddings(rounded, heavy, images.labels, images.labels, images.keys, images.keys)
    assert found.quality["map"].after == pytest.approx(expected["map"])
    low, high = found.quality["map"].ci
    assert low <= found.quality["map"].after - found.quality["map"].before <= high
    cosines = np.einsum("nd,nd->n", rounded.astype(np.float64), heavy.astype(np.float64))
    assert (found.smallest_cosine, found.mean_cosine) == pytest.approx((cosines.min(), cosines.mean()))
    assert found.smallest_cosine < 0.9999
    assert (found.precision, found.data, found.n_queries) == ("int8", "some", 120)
    assert found.bytes == tuple((folder / "model.onnx").stat().st_size for folder in (before, after))
    assert set(found.milliseconds["onnxruntime"]) == {1, 64}
    assert found.as_dict()["kept"] == {"onnxruntime": not found.reasons("onnxruntime")}


def test_what_is_better_by_every_rule_is_kept() -> None:
    assert BETTER.reasons("onnxruntime") == ()
    assert require_better(BETTER, "onnxruntime")["kept"] == {"onnxruntime": True}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"smallest_cosine": 0.94}, r"the smallest cosine is 0\.9400, below 0\.95"),
        ({"smallest_cosine": float("nan")}, "the smallest cosine is nan"),
        ({"quality": {"map": Change(0.9, 0.8, (-0.11, -0.09))}}, r"worse, by \[-0\.11000, -0\.09000\]"),
        ({1: Change(0.1, 0.09, (-0.02, 0.001))}, r"one image is not faster: .* \[-0\.0200, \+0\.0010\] ms"),
        ({64: Change(4.0, 5.0, (0.9, 1.1))}, r"a batch of 64 is slower, by \[\+0\.900, \+1\.100\] ms"),
    ],
)
def test_each_rule_can_refuse(changes: dict, reason: str) -> None:
    times = {**BETTER.milliseconds["onnxruntime"], **{key: value for key, value in changes.items() if key in (1, 64)}}
    fields = {key: value for key, value in changes.items() if key not in (1, 64)}
    worse = replace(BETTER, milliseconds={"onnxruntime": times}, **fields)
    assert len(worse.reasons("onnxruntime")) == 1
    with pytest.raises(GateNotMet, match=f"int8 is not better than float32 in onnxruntime.*{reason}"):
        require_better(worse, "onnxruntime")


def test_what_cannot_be_compared(tmp_path: Path, fashion_test: tuple[np.ndarray, np.ndarray]) -> None:
    before, after = bundles(tmp_path, 0.02)
    images = some(fashion_test, 20)
    heavy = gallery_vectors(load_encoder(before), images)
    with pytest.raises(UsageError, match=r"no float32 bundle: observed int8.*Export it in float32 first"):
        compare_files(after, after, images, heavy, backends=())
    with pytest.raises(DataError, match="has no labels"):
        compare_files(before, after, replace(images, labels=None), heavy, backends=())
    broken = replace(images, read=lambda row: b"no picture" if row == 3 else images.read(row))
    with pytest.raises(DataError, match="images that can all be read: observed 3: "):
        gallery_vectors(load_encoder(before), broken)
