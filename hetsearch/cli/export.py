"""``hetsearch export``: a trained bundle's weights to ``model.onnx``, with a parity report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from hetsearch.cli.console import emit
from hetsearch.files import dump_json


def export(
    bundle: Path,
    *,
    precision: Annotated[
        Literal["float32", "float16", "int8-weights"], Parameter(help="How the file stores its weights.")
    ] = "float32",
    images: Annotated[str | None, Parameter(help="Measure parity on these: SRC; default: made pictures.")] = None,
    json: Annotated[bool, Parameter(help="The parity report as JSON.", negative="")] = False,
) -> None:
    """Write model.onnx from an encoder bundle's float32 weights, and compare its vectors with torch's.

    Smaller weights make a smaller file, not a faster one: the arithmetic stays float32. A file whose vectors are too
    far off is not kept (exit code 1).
    """
    from hetsearch.bundle import read_card
    from hetsearch.data.pixels import load_pixels
    from hetsearch.data.sources import open_source
    from hetsearch.export import export_bundle

    pixels = None if images is None else load_pixels(open_source(images), read_card(bundle, verify=False).input)
    parity = export_bundle(bundle, precision=precision, images=pixels)
    emit(dump_json(parity.as_dict()).rstrip() if json else parity.sentence())
