"""Static int8: convolutions are computed in 8 bits, within ranges that were measured on pictures.

Weights are symmetric with a scale a channel, activations affine with one range a tensor: Jacob et al., "Quantization
and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference" (arXiv 1712.05877), section 2. Only
convolutions that sum over several channels are taken, for there is the arithmetic. The others (first layers, depthwise
ones), the embedding, prototypes and unit length stay float32: they cost little, and rounding shows in them most.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnx

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import load_pixels
from hetsearch.errors import UsageError, require_extra
from hetsearch.preprocess import InputSpec, Pixels
from hetsearch.runtime.backends import INPUT

LEAST = 8  # channels that a convolution must sum over
ENOUGH = 512  # pictures to measure ranges on
BATCH = 64


def calibration_pixels(images: ImageSet, spec: InputSpec) -> Pixels:
    """At most 512 of the images, evenly over the set, preprocessed: ``uint8 (n, channels, size, size)``."""
    rows = np.unique(np.linspace(0, len(images) - 1, min(ENOUGH, len(images))).astype(np.int64))
    return load_pixels(images.subset(rows.tolist()), spec)


def quantise(model: onnx.ModelProto, pixels: Pixels) -> onnx.ModelProto:
    """Static int8 by ONNX Runtime's own tool.

    Args:
        model: float32.
        pixels: what the ranges are measured on, preprocessed, ``uint8 (n, channels, size, size)``.

    Returns:
        A graph with a quantise and a dequantise node around every tensor that is int8.

    Raises:
        UsageError: there is no convolution that it would be for.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = _batches(pixels, BATCH)

        def get_next(self) -> dict[str, Pixels] | None:
            return next(self._batches, None)

    with tempfile.TemporaryDirectory() as folder:
        whole, prepared, small = (str(Path(folder) / name) for name in ("whole.onnx", "prepared.onnx", "small.onnx"))
        onnx.save(model, whole)
        quant_pre_process(whole, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            small,
            Reader(),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=_chosen(onnx.load(prepared)),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(small)


def quantise_with_nncf(model: onnx.ModelProto, pixels: Pixels) -> onnx.ModelProto:
    """Static int8 by OpenVINO's tool, NNCF, which also corrects the biases; the same graph otherwise.

    Raises:
        MissingExtra: NNCF is not installed.
        UsageError: there is no convolution that it would be for.
    """
    try:
        import nncf
    except ImportError:
        raise require_extra("nncf", "int8") from None
    chosen = set(_chosen(model))
    rest = [node.name for node in model.graph.node if node.name not in chosen]
    others = nncf.IgnoredScope(names=rest, validate=False)  # some of them it has already folded away
    batches = nncf.Dataset(list(_batches(pixels, 1)))
    nncf.set_log_level(logging.ERROR)
    with redirect_stdout(sys.stderr):  # its progress; our results are what goes to stdout
        quantised: onnx.ModelProto = nncf.quantize(model, batches, subset_size=len(pixels), ignored_scope=others)
    return quantised


def _batches(pixels: Pixels, size: int) -> Iterator[dict[str, Pixels]]:
    return ({INPUT: pixels[start : start + size]} for start in range(0, len(pixels), size))


def _chosen(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions that are worth it."""
    channels = {tensor.name: tensor.dims[1] for tensor in model.graph.initializer if len(tensor.dims) == 4}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    chosen = [node.name for node in convolutions if channels.get(node.input[1], 0) >= LEAST]
    if not chosen:
        raise UsageError(
            "int8 is not for this network",
            observed=f"{len(convolutions)} convolutions",
            expected=f"one that sums over {LEAST} channels or more",
        )
    return chosen
