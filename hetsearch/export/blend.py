"""Two encoders of one space as one gallery encoder: ``normalise((1 - s) · g(y) + s · q(y))`` in one ONNX file.

The query encoder stays as it is, and its vectors are searched among the blended ones: M(q, b) instead of M(q, g). The
idea: where the query encoder is wrong of a picture it is likely wrong of another one like it, and a share of its own
vector in the item's lets the two meet. The gallery's job pays the small network's MACs for it, a query nothing; nothing
is trained. Whether it helps is measured, see ``hetsearch.evaluation.blending``.

Related, not the same: "Asymmetric Feature Fusion for Image Retrieval" (arXiv 2403.00671), which also spends more on the
gallery's side alone, and fuses several features of each image there by a mixer that is trained with the query network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper

from hetsearch.bundle import BLEND, ONNX, EncoderCard, Precision, write_card
from hetsearch.errors import UsageError
from hetsearch.export.onnx_file import describe
from hetsearch.export.parity import SMALLEST_COSINE, Parity, compare
from hetsearch.files import atomic_folder, sha256_of
from hetsearch.preprocess import InputSpec, Pixels, preprocess
from hetsearch.runtime.backends import INPUT, OUTPUT
from hetsearch.runtime.onnx_encoder import OnnxEncoder, load_encoder
from hetsearch.space import Vectors, blend_vectors, require_share, require_space

REFERENCE = "the two encoders blended in NumPy"
ANTIALIASED = 18  # the first version of ONNX's operators whose Resize can
NOT_MEASURED = {"measured": False, "reason": "the share was given, not chosen on images"}


def require_blendable(gallery: OnnxEncoder, query: OnnxEncoder, out: Path) -> None:
    """Refuse what cannot be blended, before anything is measured.

    Args:
        gallery: the gallery encoder.
        query: the query encoder.
        out: where the blend is to be written.

    Raises:
        SpaceMismatch: the encoders are of two spaces.
        UsageError: one is a blend already, or has another role, or they take other pictures; or ``out`` is not free.
    """
    require_space(
        query.space, gallery.space, what=f"the query encoder '{query.name}' and the gallery encoder '{gallery.name}'"
    )
    for encoder, role in ((gallery, "gallery"), (query, "query")):
        if encoder.card.architecture == BLEND:
            hint = "Blend the two encoders that it was made of, with another share."
            raise UsageError(f"'{encoder.folder}' is a blend already", expected="an encoder of one network", hint=hint)
        if encoder.card.role != role:
            raise UsageError(
                f"'{encoder.folder}' is no {role} encoder",
                observed=f"role {encoder.card.role}",
                expected=f"role {role}",
                hint="The order is: hetsearch blend GALLERY_ENCODER QUERY_ENCODER.",
            )
    wanted, found = gallery.input.form(), query.input.form()
    smaller = {"size": found["size"]} if found["size"] < wanted["size"] else {}  # made smaller in the file
    if other := [name for name in wanted if {**wanted, **smaller}[name] != found[name]]:
        raise UsageError(
            f"'{query.name}' takes other pictures than '{gallery.name}', and a blend gives both the same pixels",
            observed=", ".join(f"{name} {found[name]}" for name in other),
            expected=", ".join(f"{name} {wanted[name]}" for name in other),
            hint="Train a query encoder with the gallery encoder's 'input' (mean, std and a smaller size may differ).",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        hint = "A blend replaces nothing: choose another --out, or remove it."
        raise UsageError(f"'{out}' is there already", expected="a new or empty folder", hint=hint)


def blend_bundles(
    gallery: OnnxEncoder,
    query: OnnxEncoder,
    out: Path,
    share: float,
    *,
    measured: dict[str, Any] | None = None,
    command: str | None = None,
) -> Parity:
    """Write the bundle of a blend, and compare its vectors with those of the two encoders.

    Args:
        gallery: the gallery encoder.
        query: the query encoder, of the same space and the same pictures, or smaller ones.
        out: folder of the new bundle.
        share: of the query encoder, above 0 and below 1.
        measured: how the share was chosen, for the card; None where nothing was measured.
        command: the command line, for the card.

    Raises:
        SpaceMismatch, UsageError: see :func:`require_blendable`; or another share, or ONNX files of other versions.
        HetsearchError: the file does not give the blended vectors.
    """
    require_share(share)
    require_blendable(gallery, query, out)
    resized = None if query.input.size == gallery.input.size else query.input
    model = merge_networks(onnx.load(gallery.folder / ONNX), onnx.load(query.folder / ONNX), share, resized)
    sources = {"gallery_encoder": _source(gallery), "query_encoder": _source(query)}
    paragon = gallery.card.numbers.get("paragon")  # M(g, g), which M(b, b) is not
    card = EncoderCard(
        role="gallery",
        space=gallery.space,
        dim=gallery.dim,
        architecture=BLEND,
        arguments={"share": share},
        input=gallery.input,
        params=gallery.card.params + query.card.params,
        macs=gallery.card.macs + query.card.macs,
        # The coarser of the two: from the whole weights to those that are furthest from them.
        precision=max(gallery.card.precision, query.card.precision, key=get_args(Precision).index),
        training={"command": command, "space": gallery.space, **sources},
        numbers={**({"paragon": paragon} if paragon else {}), "blend": measured or NOT_MEASURED},
    )
    describe(model, card)
    onnx.checker.check_model(model)

    with atomic_folder(out) as new:
        (new / ONNX).write_bytes(model.SerializeToString())
        write_card(new, card)
        parity = compare(
            lambda batch: blend_vectors(gallery.encode_pixels(batch), _encode(query, batch), share),
            load_encoder(new),
            precision=card.precision,
            # The same files on both sides, whatever their precision; a pixel that is made smaller may be one level off.
            bound=SMALLEST_COSINE["float16" if resized else "float32"],
            name=REFERENCE,
        )
        write_card(new, card.model_copy(update={"parity": parity.as_dict()}))
    return parity


def merge_networks(
    gallery: onnx.ModelProto, query: onnx.ModelProto, share: float, resized: InputSpec | None = None
) -> onnx.ModelProto:
    """One graph of two: both take ``pixels``, and ``embedding`` is their blend, unit rows.

    Args:
        gallery: from ``pixels`` to ``embedding``, unit rows.
        query: likewise.
        share: of ``query``.
        resized: what ``query`` takes, where it is smaller; None where it takes the same pixels.

    Raises:
        UsageError: the files were written for different versions of ONNX's operators.
    """
    opsets = _opsets(gallery, query)
    if resized and opsets[""] < ANTIALIASED:
        raise UsageError(
            "the query encoder's pictures are smaller, and the ONNX files' operators cannot resize as Pillow does",
            observed=f"version {opsets['']}",
            expected=f"version {ANTIALIASED} or newer",
            hint="Make both files again with 'hetsearch export'.",
        )
    heavy, light = compose.add_prefix(gallery, "gallery."), compose.add_prefix(query, "query.")
    for side in (heavy, light):
        side.ir_version = max(gallery.ir_version, query.ir_version)  # a newer format holds what an older one does
        del side.metadata_props[:]  # each tells its own input
    merged = compose.merge_models(heavy, light, io_map=[], name=BLEND, doc_string="")
    del merged.opset_import[:]  # it lists each twice
    merged.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in opsets.items())
    graph = merged.graph
    nodes = [
        helper.make_node("Identity", [INPUT], [f"gallery.{INPUT}"]),
        _resize(resized) if resized else helper.make_node("Identity", [INPUT], [f"query.{INPUT}"]),
        *graph.node,
        helper.make_node("Mul", [f"gallery.{OUTPUT}", "gallery_share"], ["gallery_part"]),
        helper.make_node("Mul", [f"query.{OUTPUT}", "query_share"], ["query_part"]),
        helper.make_node("Add", ["gallery_part", "query_part"], ["blended"]),
        helper.make_node("LpNormalization", ["blended"], [OUTPUT], axis=1, p=2),
    ]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_value_info(INPUT, gallery.graph.input[0].type))
    graph.output.append(helper.make_value_info(OUTPUT, gallery.graph.output[0].type))
    for name, value in (("gallery_share", 1 - share), ("query_share", share)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=np.float32), name))
    if resized:
        sides = np.array([resized.size, resized.size], dtype=np.int64)
        graph.initializer.append(numpy_helper.from_array(sides, "query_sides"))
    return merged


def _resize(spec: InputSpec) -> onnx.NodeProto:
    """Pillow's filter, antialiased and with the weights of what lies outside left out; a level off at the most."""
    return helper.make_node(
        "Resize",
        [INPUT, "", "", "query_sides"],
        [f"query.{INPUT}"],
        mode={"bilinear": "linear", "bicubic": "cubic"}[spec.resample],
        antialias=1,
        axes=[2, 3],
        exclude_outside=1,
        cubic_coeff_a=-0.5,
    )


def _encode(query: OnnxEncoder, pixels: Pixels) -> Vectors:
    """The query encoder's vectors of a gallery encoder's pixels, made smaller by Pillow where they are too large."""
    if pixels.shape[-1] != query.input.size:
        pictures = (picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0) for picture in pixels)
        pixels = np.stack([preprocess(np.ascontiguousarray(picture), query.input) for picture in pictures])
    return query.encode_pixels(pixels)


def _opsets(*models: onnx.ModelProto) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in (entry for model in models for entry in model.opset_import):
        if (version := found.setdefault(entry.domain, entry.version)) != entry.version:
            raise UsageError(
                "the ONNX files of the two encoders were written for different versions of ONNX's operators",
                observed=f"versions {version} and {entry.version} of '{entry.domain or 'ai.onnx'}'",
                expected="one version",
                hint="Make both files again with 'hetsearch export'.",
            )
    return found


def _source(encoder: OnnxEncoder) -> dict[str, Any]:
    card = encoder.card
    told = {"name": encoder.name, "architecture": card.architecture, "precision": card.precision}
    return {**told, "params": card.params, "macs": card.macs, ONNX: sha256_of(encoder.folder / ONNX)}
