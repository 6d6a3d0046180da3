"""Train a query encoder into an existing space, against its frozen classifier and the gallery encoder's embeddings."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

from hetsearch.data.sides import Sides
from hetsearch.files import make_folder
from hetsearch.models.alignment import fit_map, fold
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.prototypes import class_means, fit_prototypes
from hetsearch.models.torch_encoder import TorchEncoder
from hetsearch.space import Vectors
from hetsearch.training.finish import Trained, finish
from hetsearch.training.images import LoadedImages, retrieval_metrics
from hetsearch.training.initial import start_from
from hetsearch.training.joining import Joining
from hetsearch.training.loop import Evaluate, make_accelerator
from hetsearch.training.recipe import Recipe
from hetsearch.training.reference import Reference


def train_query(
    recipe: Recipe,
    space_folder: Path,
    out: Path,
    *,
    gallery_encoder: Path | None = None,
    gallery_vectors: Path | None = None,
) -> Trained:
    """Train a query encoder that is backward-compatible with a space; resumes what is unfinished in ``out``.

    Writes the encoder bundle ``out/query-encoder`` (weights and card; exporting adds ONNX).

    Args:
        recipe: the configuration.
        space_folder: a space, or a folder that holds ``space/``.
        out: folder of the run.
        gallery_encoder: the bundle that embeds regression targets and the validation's gallery; default
            ``gallery-encoder`` beside the space, if it is there.
        gallery_vectors: a gallery of the space that holds the images; its vectors stand in for the gallery encoder.

    Raises:
        UsageError: nothing can be written into ``out``, or there is no space or no gallery encoder where one is named.
        SpaceMismatch: the gallery encoder or the gallery is of another space.
        ConfigError: the recipe does not fit the space, or an objective lacks what it needs.
        DataError: a source is missing.
    """
    joining = Joining.open(recipe, space_folder, gallery_encoder=gallery_encoder, gallery_vectors=gallery_vectors)
    reference = joining.reference
    make_folder(out)
    accelerator = make_accelerator(recipe)
    torch.manual_seed(recipe.seed)
    network = build_network(
        recipe.encoder.architecture, recipe.encoder.arguments, dim=reference.space.dim, spec=recipe.input
    )
    if recipe.encoder.initial is not None:
        start_from(Path(recipe.encoder.initial), network)
    evaluate = heterogeneous(joining.validation, reference)
    fitted = joining.fit(network, out, evaluate=evaluate, accelerator=accelerator)
    if recipe.align is not None:
        network = network.cpu().eval()
        _align(network, joining)
        # Apart from the others: they are measured on the images that the map was fitted on.
        after = {f"aligned_{name}": value for name, value in evaluate(network).items()}
        fitted = replace(fitted, best={**fitted.best, **after})
    return finish(network, recipe, fitted, out, role="query", space=reference.space.id, accelerator=accelerator)


def _align(network: EncoderNetwork, joining: Joining) -> None:
    """Fit a closed-form map on the validation split, and make it a part of the network."""
    recipe, reference, train, validation = joining.recipe, joining.reference, joining.train, joining.validation
    query = TorchEncoder(network, name="", space="").encode_pixels(validation.pixels)
    gallery = reference.embed(validation, network.spec)
    if recipe.align != "prototypes":
        assert recipe.align is not None  # the caller looked
        fold(network, fit_map(query, gallery, recipe.align))
        return
    assert train.labels is not None  # was checked
    known = reference.embed(train, network.spec) if joining.targets is None else joining.targets[0].numpy()
    network.prototypes = fit_prototypes(query, gallery, class_means(known, train.labels))


def heterogeneous(validation: LoadedImages, reference: Reference) -> Evaluate:
    """What is measured on the validation split while a network learns to join a space.

    M(q, g) as ``p@1`` and ``map``, with M(q, q) beside it and the mean ``cosine`` between the two encoders' vectors of
    the same image; M(q, q) alone without the gallery's vectors, and ``cosine`` alone where no image has a label or no
    query anything to find.
    """
    sides = None if validation.images.labels is None else Sides.of(validation.images)
    if sides is not None and not sides.any_positive():
        sides = None  # a mean over no query would be NaN
    known: list[Vectors | None] = []  # embedded at the first call, when all else has been found right

    def evaluate(network: EncoderNetwork) -> dict[str, float]:
        if not known:
            known.append(reference.embed(validation, network.spec) if reference.covers(validation) else None)
            if known[0] is None and sides is not None:
                unknown = f"the gallery encoder's vectors of '{validation.images.name}' are not known"
                sys.stderr.write(f"{unknown}: p@1 and map are of M(q,q), and choose among the epochs\n")
        gallery = known[0]
        vectors = TorchEncoder(network, name="", space="").encode_pixels(validation.pixels)
        found: dict[str, float] = {}
        if sides is not None and gallery is not None:
            found |= retrieval_metrics(vectors, gallery, sides)
        if sides is not None:
            found |= retrieval_metrics(vectors, vectors, sides, prefix="" if gallery is None else "homogeneous_")
        if gallery is not None:
            found["cosine"] = float((vectors * gallery).sum(axis=1).mean())
        return found

    return evaluate
