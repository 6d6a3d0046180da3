"""What may run the network of an encoder bundle: each makes, from the same ``model.onnx``, a function of pixels."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import onnxruntime as ort

from hetsearch.errors import DamagedArtifact, require_extra
from hetsearch.preprocess import Pixels
from hetsearch.space import Vectors

INPUT, OUTPUT = "pixels", "embedding"

# uint8 (n, C, S, S) → float32 (n, dim); may be called from several threads at once.
Run: TypeAlias = Callable[[Pixels], Vectors]


def _onnxruntime(session: ort.InferenceSession, path: Path, threads: int) -> Run:
    """The session that has just checked the file goes on with it."""

    def run(pixels: Pixels) -> Vectors:
        vectors: Vectors = session.run([OUTPUT], {INPUT: pixels})[0]
        return vectors

    return run


def _openvino(session: ort.InferenceSession, path: Path, threads: int) -> Run:
    """OpenVINO on the CPU, tuned for the answer to one picture; float32 throughout, where the CPU could do less.

    Raises:
        MissingExtra: OpenVINO is not installed.
        DamagedArtifact: it refuses the file, which ONNX Runtime accepted.
    """
    try:
        import openvino
    except ImportError:
        raise require_extra("openvino", "openvino") from None
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    try:
        compiled = openvino.Core().compile_model(path, "CPU", settings)
    except RuntimeError as error:
        observed = " ".join(str(error).split())[:200]
        raise DamagedArtifact(f"'{path}' is refused by OpenVINO", observed=observed) from None
    # A request of OpenVINO holds the state of one inference, so each thread has its own.
    own = threading.local()

    def run(pixels: Pixels) -> Vectors:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        vectors: Vectors = own.request.infer({INPUT: pixels})[OUTPUT].copy()
        return vectors

    return run


BACKENDS: dict[str, Callable[[ort.InferenceSession, Path, int], Run]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
