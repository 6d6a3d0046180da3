"""torch → ``model.onnx``: dynamic batch, pixels' normalisation and L2 inside, space and input in the metadata."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import torch

from hetsearch.bundle import EncoderCard
from hetsearch.models.network import EncoderNetwork

OPSET = 18  # the newest that torch's exporter writes without converting


def export_network(network: EncoderNetwork, card: EncoderCard) -> onnx.ModelProto:
    """Export a network in float32.

    The graph takes ``pixels``, ``uint8 (batch, channels, size, size)``, and gives ``embedding``,
    ``float32 (batch, dim)``, unit rows.

    Args:
        network: trained; it is exported in evaluation mode.
        card: what the metadata says of it.
    """
    spec = network.spec
    example = torch.zeros(2, spec.channels, spec.size, spec.size, dtype=torch.uint8)
    with warnings.catch_warnings(), _quiet_exporter():
        warnings.simplefilter("ignore")  # torch's exporter warns about its own internals
        program = torch.onnx.export(
            network.cpu().eval().to(memory_format=torch.contiguous_format),
            (example,),
            input_names=["pixels"],
            output_names=["embedding"],
            dynamic_shapes={"pixels": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # it is None only when a file name is given
    model: onnx.ModelProto = program.model_proto
    describe(model, card)
    return model


def describe(model: onnx.ModelProto, card: EncoderCard) -> None:
    """Write space, dimension and input specification into the graph's metadata, and drop the exporter's own."""
    del model.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces with paths of the exporting machine
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    entries = {
        "hetsearch.space": card.space,
        "hetsearch.dim": str(card.dim),
        "hetsearch.input": card.input.model_dump_json(),
    }
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name = "hetsearch"


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """torch's exporter logs to its own loggers at warning level even when told verbose=False."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

