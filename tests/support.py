"""What tests of several rooms share: a real encoder bundle made by hand, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from hetsearch.bundle import ONNX, WEIGHTS, EncoderCard, Role, write_card
from hetsearch.preprocess import InputSpec

# Old enough for every onnxruntime that pyproject.toml allows.
OPSET = 18
IR_VERSION = 8

SPACE = "sp_00112233445566aa"
OTHER_SPACE = "sp_ffeeddccbbaa9988"


def linear_weights(dim: int, spec: InputSpec, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The random matrix ``(channels * size * size, dim)`` and bias ``(dim,)`` of :func:`linear_bundle`."""
    rng = np.random.default_rng(seed)
    inputs = spec.channels * spec.size * spec.size
    matrix = rng.normal(size=(inputs, dim)).astype(np.float32) / np.float32(np.sqrt(inputs))
    return matrix, rng.normal(size=dim).astype(np.float32) * np.float32(0.1)


def linear_vectors(pixels: np.ndarray, dim: int, spec: InputSpec, seed: int) -> np.ndarray:
    """What the bundle's graph computes, in float64 NumPy: the independent reference, ``(n, dim)``."""
    matrix, bias = linear_weights(dim, spec, seed)
    shape = (1, spec.channels, 1, 1)
    mean, std = np.reshape(spec.mean, shape), np.reshape(spec.std, shape)
    flat = ((pixels / 255.0 - mean) / std).reshape(len(pixels), len(matrix))
    vectors = flat @ matrix.astype(np.float64) + bias
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def linear_bundle(
    folder: Path,
    *,
    space: str,
    dim: int = 16,
    spec: InputSpec | None = None,
    seed: int = 0,
    role: Role = "query",
    weights: tuple[np.ndarray, np.ndarray] | None = None,
) -> Path:
    """Write an encoder bundle that projects the pixels with one matrix, random if none is given; return ``folder``.

    Two bundles with one ``seed``, ``dim`` and ``spec`` give the same vectors, whatever their space is called.
    """
    spec = spec or InputSpec()
    folder.mkdir(parents=True, exist_ok=True)
    matrix, bias = weights or linear_weights(dim, spec, seed)
    onnx.save(_graph(space, dim, spec, matrix, bias), str(folder / ONNX))
    save_file({"matrix": matrix, "bias": bias}, str(folder / WEIGHTS))
    card = EncoderCard(
        role=role,
        space=space,
        dim=dim,
        architecture="linear",
        arguments={"seed": seed},
        input=spec,
        params=matrix.size + bias.size,
        macs=matrix.size,
    )
    write_card(folder, card)
    return folder


def _graph(space: str, dim: int, spec: InputSpec, matrix: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    shape = (1, spec.channels, 1, 1)
    constants = {
        "scale": (1.0 / (255.0 * np.reshape(spec.std, shape))).astype(np.float32),
        "shift": (np.reshape(spec.mean, shape) / np.reshape(spec.std, shape)).astype(np.float32),
        "matrix": matrix,
        "bias": bias,
    }
    nodes = [
        helper.make_node("Cast", ["pixels"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "shift"], ["normal"]),
        helper.make_node("Flatten", ["normal"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "matrix"], ["projected"]),
        helper.make_node("Add", ["projected", "bias"], ["raw"]),
        helper.make_node("LpNormalization", ["raw"], ["embedding"], axis=1, p=2),
    ]
    pixels = helper.make_tensor_value_info(
        "pixels", TensorProto.UINT8, ["batch", spec.channels, spec.size, spec.size]
    )
    embedding = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", dim])
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "linear", [pixels], [embedding], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    helper.set_model_props(
        model,
        {"hetsearch.space": space, "hetsearch.dim": str(dim), "hetsearch.input": spec.model_dump_json()},
    )
    onnx.checker.check_model(model)
    return model
