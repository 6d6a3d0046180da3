"""From a trained bundle to ``model.onnx``, in a chosen precision, with a parity report."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from hetsearch.bundle import MODEL_CARD, ONNX, WEIGHTS, Precision, read_card, write_card
from hetsearch.errors import UsageError
from hetsearch.export.onnx_file import describe, export_network
from hetsearch.export.parity import Parity, measure_parity
from hetsearch.export.precision import store_weights_as_float16, store_weights_as_int8
from hetsearch.export.quantise import calibration_pixels, quantise, quantise_with_nncf
from hetsearch.files import atomic_folder
from hetsearch.models.weights import load_network
from hetsearch.preprocess import Pixels
from hetsearch.runtime.onnx_encoder import load_encoder

__all__ = ["QUANTISED", "STORED", "Gate", "Parity", "calibration_pixels", "export_bundle"]

# How a file stores its weights, and how it computes.
STORED = {"float16": store_weights_as_float16, "int8-weights": store_weights_as_int8}
QUANTISED: dict[Precision, Callable[[onnx.ModelProto, Pixels], onnx.ModelProto]] = {
    "int8": quantise,
    "int8-nncf": quantise_with_nncf,
}

# The folder of the new bundle → what is recorded of it; raises where the new file is not to be kept.
Gate = Callable[[Path], dict[str, Any]]


def export_bundle(
    folder: Path,
    *,
    precision: Precision = "float32",
    images: Pixels | None = None,
    calibration: Pixels | None = None,
    gate: Gate | None = None,
) -> Parity:
    """Write ``model.onnx`` into an encoder bundle that has its float32 weights, and record its parity.

    Args:
        folder: the encoder bundle.
        precision: how the file stores its weights, or computes.
        images: what parity is measured on, ``uint8 (n, channels, size, size)``; None takes made pictures.
        calibration: what the ranges of int8 are measured on, likewise; training images.
        gate: looks at the new bundle before it takes the place of the old one.

    Raises:
        UsageError: the bundle has no float32 weights, or int8 has nothing to measure its ranges on.
        GateNotMet: the gate is not; the bundle stays as it was.
        DamagedArtifact: the weights were changed.
        HetsearchError: the file's vectors are further off than the precision allows; the bundle stays as it was.
    """
    # An export that was killed, or a file that was changed since, is mended by exporting again.
    card = read_card(folder, but=frozenset({ONNX, MODEL_CARD}))
    network = load_network(folder, card)
    card = card.model_copy(update={"precision": precision, "parity": {}})
    model = export_network(network, card)
    if precision in STORED:
        model = STORED[precision](model)
    elif precision in QUANTISED:
        if calibration is None or not len(calibration):
            raise UsageError(f"{precision} needs pictures to measure its ranges on", hint="Give it training images.")
        model = QUANTISED[precision](model, calibration)
        describe(model, card)  # the tools add entries of their own
    onnx.checker.check_model(model)
    # The old bundle stays in its place until the new one has passed.
    with atomic_folder(folder) as new:
        shutil.copy2(folder / WEIGHTS, new / WEIGHTS)
        (new / ONNX).write_bytes(model.SerializeToString())
        write_card(new, card)
        parity = measure_parity(network, load_encoder(new), precision=precision, images=images)
        card = card.model_copy(update={"parity": parity.as_dict()})
        write_card(new, card)
        if gate is not None:
            write_card(new, card.model_copy(update={"numbers": {**card.numbers, precision: gate(new)}}))
    return parity
