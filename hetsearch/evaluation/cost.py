"""What an encoder costs: parameters, MACs, bytes of its file, time for one image on one thread."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hetsearch.bundle import ONNX
from hetsearch.evaluation.result import EncoderRow
from hetsearch.evaluation.run import CardedEncoder
from hetsearch.runtime.timing import median_ms


def cost_of(encoder: CardedEncoder, role: str) -> EncoderRow:
    """The row of one encoder.

    Parameters and MACs come from its card. Bytes and latency are those of ``model.onnx`` in the encoder's
    ``folder``; for an encoder without such a file they are None.

    Args:
        encoder: whose cost it is.
        role: its part in this evaluation: gallery, query or free.
    """
    card = encoder.card
    folder: Path | None = getattr(encoder, "folder", None)
    file = None if folder is None else Path(folder) / ONNX
    path = file if file is not None and file.is_file() else None
    return EncoderRow(
        role=role,
        space=encoder.space,
        params=card.params,
        macs=card.macs,
        bytes=None if path is None else path.stat().st_size,
        latency_ms=None if path is None else _latency_of(path.parent),
        precision=card.precision,
    )


def _latency_of(folder: Path) -> float:
    # ONNX Runtime is slow to import; whoever evaluates arrays alone does not need it.
    from hetsearch.runtime.onnx_encoder import load_encoder

    # A session of its own: the one that embedded the images may use every core.
    encoder = load_encoder(folder, threads=1, verify=False)
    shape = (1, encoder.input.channels, encoder.input.size, encoder.input.size)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return median_ms(lambda: encoder.encode_pixels(pixels))
