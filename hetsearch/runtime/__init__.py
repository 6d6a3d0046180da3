"""Run an encoder bundle over images with ONNX Runtime. No torch."""

from hetsearch.runtime.encoder import Encoder
from hetsearch.runtime.onnx_encoder import OnnxEncoder, load_encoder

__all__ = ["Encoder", "OnnxEncoder", "load_encoder"]
