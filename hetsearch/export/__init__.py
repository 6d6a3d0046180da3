"""From a trained bundle to ``model.onnx``, in a chosen precision, with a parity report."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import onnx

from hetsearch.bundle import MODEL_CARD, ONNX, WEIGHTS, read_card, write_card
from hetsearch.export.onnx_file import export_network
from hetsearch.export.parity import Parity, measure_parity
from hetsearch.export.precision import store_weights_as_float16, store_weights_as_int8
from hetsearch.files import atomic_folder
from hetsearch.models.weights import load_network
from hetsearch.preprocess import Pixels
from hetsearch.runtime.onnx_encoder import load_encoder

__all__ = ["Parity", "export_bundle"]

Precision = Literal["float32", "float16", "int8-weights"]


def export_bundle(folder: Path, *, precision: Precision = "float32", images: Pixels | None = None) -> Parity:
    """Write ``model.onnx`` into an encoder bundle that has its float32 weights, and record its parity.

    Args:
        folder: the encoder bundle.
        precision: how the file stores its weights.
        images: what parity is measured on, ``uint8 (n, channels, size, size)``; None takes made pictures.

    Raises:
        UsageError: the bundle has no float32 weights.
        DamagedArtifact: the weights were changed.
        HetsearchError: the file's vectors are further off than the precision allows; the bundle stays as it was.
    """
    # An export that was killed, or a file that was changed since, is mended by exporting again.
    card = read_card(folder, but=frozenset({ONNX, MODEL_CARD}))
    network = load_network(folder, card)
    card = card.model_copy(update={"precision": precision, "parity": {}})
    model = export_network(network, card)
    if precision == "float16":
        model = store_weights_as_float16(model)
    elif precision == "int8-weights":
        model = store_weights_as_int8(model)
    onnx.checker.check_model(model)
    # The old bundle stays in its place until the new one has passed.
    with atomic_folder(folder) as new:
        shutil.copy2(folder / WEIGHTS, new / WEIGHTS)
        (new / ONNX).write_bytes(model.SerializeToString())
        write_card(new, card)
        parity = measure_parity(network, load_encoder(new), precision=precision, images=images)
        write_card(new, card.model_copy(update={"parity": parity.as_dict()}))
    return parity
