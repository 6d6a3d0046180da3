"""``hetsearch export``: a trained bundle's weights to ``model.onnx``, with a parity report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from hetsearch.bundle import Precision
from hetsearch.cli.console import emit
from hetsearch.errors import UsageError
from hetsearch.files import dump_json

if TYPE_CHECKING:
    from hetsearch.export import Gate


def export(
    bundle: Path,
    *,
    precision: Annotated[Precision, Parameter(help="How the file stores its weights; int8 and int8-nncf: computes.")]
    = "float32",
    images: Annotated[str | None, Parameter(help="Measure parity on these: SRC; default: made pictures.")] = None,
    calibrate: Annotated[
        str | None, Parameter(help="Measure the ranges of int8 on some of these: SRC, training images.")
    ] = None,
    gate: Annotated[
        str | None, Parameter(help="Keep int8 only where it is better on these labelled images: SRC, for validation.")
    ] = None,
    gallery_encoder: Annotated[Path | None, Parameter(help="The gallery encoder of M(q,g) in the gate.")] = None,
    backend: Annotated[
        Literal["onnxruntime", "openvino"], Parameter(help="Where int8 must be faster, with --gate.")
    ] = "onnxruntime",
    json: Annotated[bool, Parameter(help="The parity report as JSON.", negative="")] = False,
) -> None:
    """Write model.onnx from an encoder bundle's float32 weights, and compare its vectors with torch's.

    Smaller weights (float16, int8-weights) make a smaller file, not a faster one: the arithmetic stays float32. int8
    (by ONNX Runtime's tool) and int8-nncf (by OpenVINO's) compute in 8 bits and need --calibrate, --gate and
    --gallery-encoder. A file whose vectors are too far off is not kept (exit code 1), nor int8 where M(q,g) is worse or
    one image on one thread is not faster (exit code 4).
    """
    from hetsearch.bundle import read_card
    from hetsearch.data.pixels import load_pixels
    from hetsearch.data.sources import open_source
    from hetsearch.export import QUANTISED, calibration_pixels, export_bundle

    given = (calibrate, gate, gallery_encoder)
    if precision in QUANTISED and None in given:
        raise UsageError(f"{precision} needs --calibrate, --gate and --gallery-encoder")
    if precision not in QUANTISED and any(given):
        raise UsageError(f"--calibrate, --gate and --gallery-encoder are for {' and '.join(QUANTISED)}")
    spec = read_card(bundle, verify=False).input
    pixels = None if images is None else load_pixels(open_source(images), spec)
    parity = export_bundle(
        bundle,
        precision=precision,
        images=pixels,
        calibration=None if calibrate is None else calibration_pixels(open_source(calibrate), spec),
        gate=None if gate is None or gallery_encoder is None else _gate(bundle, gate, gallery_encoder, backend),
    )
    emit(dump_json(parity.as_dict()).rstrip() if json else parity.sentence())


def _gate(bundle: Path, source: str, gallery_encoder: Path, backend: str) -> Gate:
    from hetsearch.data.sources import open_source
    from hetsearch.evaluation.quantised import compare_files, gallery_vectors, require_better
    from hetsearch.runtime import load_encoder
    from hetsearch.runtime.threads import available_threads
    from hetsearch.space import require_space

    images, heavy = open_source(source), load_encoder(gallery_encoder, threads=available_threads())

    def passes(new: Path) -> dict[str, Any]:
        require_space(load_encoder(new).space, heavy.space, what="the bundle and the gallery encoder")
        found = compare_files(bundle, new, images, gallery_vectors(heavy, images), backends=(backend,))
        return require_better(found, backend)

    return passes
