"""Weights in fewer bits: float16, or int8 with one scale a row; the arithmetic stays float32.

This is for files that must be small (a released gallery encoder), not for speed: ONNX Runtime turns the weights back
into float32 when it loads the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Convert: TypeAlias = Callable[[str, NDArray[Any]], tuple[list[TensorProto], onnx.NodeProto]]

SMALL = 1024  # values; smaller arrays (biases, norms) stay float32: they cost nothing and matter most


def store_weights_as_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large weights as float16, with a Cast in front of their use."""

    def convert(name: str, values: NDArray[Any]) -> tuple[list[TensorProto], onnx.NodeProto]:
        stored = numpy_helper.from_array(values.astype(np.float16), f"{name}_float16")
        return [stored], helper.make_node("Cast", [stored.name], [name], to=TensorProto.FLOAT)

    return _replace_weights(model, convert)


def store_weights_as_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large weights as int8 with one symmetric scale for each row of the first axis (output channel)."""

    def convert(name: str, values: NDArray[Any]) -> tuple[list[TensorProto], onnx.NodeProto]:
        rows = np.abs(values.reshape(len(values), -1)).max(axis=1)
        scale = np.where(rows > 0, rows / 127.0, 1.0).astype(np.float32)
        shape = (-1, *(1,) * (values.ndim - 1))
        quantised = np.clip(np.rint(values / scale.reshape(shape)), -127, 127).astype(np.int8)
        tensors = [
            numpy_helper.from_array(quantised, f"{name}_int8"),
            numpy_helper.from_array(scale, f"{name}_scale"),
        ]
        return tensors, helper.make_node("DequantizeLinear", [t.name for t in tensors], [name], axis=0)

    return _replace_weights(model, convert)


def _replace_weights(model: onnx.ModelProto, convert: Convert) -> onnx.ModelProto:
    small = onnx.ModelProto()
    small.CopyFrom(model)
    nodes, kept = [], []
    for tensor in small.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2 or values.size < SMALL:
            kept.append(tensor)
            continue
        tensors, node = convert(tensor.name, values)
        kept.extend(tensors)
        nodes.append(node)
    rest = list(small.graph.node)
    del small.graph.initializer[:], small.graph.node[:]
    small.graph.initializer.extend(kept)
    small.graph.node.extend([*nodes, *rest])
    onnx.checker.check_model(small)
    return small
