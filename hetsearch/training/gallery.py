"""Train a gallery encoder: it defines a space. A free encoder is trained the same way, with a small architecture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hetsearch.data.sides import Sides
from hetsearch.errors import ConfigError, UsageError
from hetsearch.files import make_folder
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.torch_encoder import TorchEncoder
from hetsearch.models.weights import arrays_of
from hetsearch.objectives import (
    CLASSIFIER,
    MEMORY,
    TARGETS,
    Classification,
    Context,
    ObjectiveSum,
    needs_of,
)
from hetsearch.space import EmbeddingSpace
from hetsearch.training.checkpoint import identity_of, require_same_training
from hetsearch.training.finish import Trained, finish
from hetsearch.training.images import LoadedImages, as_training_set, load_splits, retrieval_metrics
from hetsearch.training.initial import start_from
from hetsearch.training.loop import Evaluate, fit, make_accelerator
from hetsearch.training.needs import check_needs
from hetsearch.training.recipe import Recipe
from hetsearch.training.reference import Reference
from hetsearch.training.task import Task
from hetsearch.training.upgrade import compatibility_record


def train_gallery(
    recipe: Recipe, out: Path, *, compatible_with: Path | None = None, gallery_encoder: Path | None = None
) -> Trained:
    """Train an encoder that defines a space; resumes what is unfinished in ``out``.

    Writes ``out/space`` and the encoder bundle ``out/<role>-encoder`` (weights and card; exporting adds ONNX).

    Args:
        recipe: the configuration; the ``W`` of its objective ``classification`` becomes the space's. Without that
            objective the space has no classifier, and query encoders can join it by its embeddings only.
        out: folder of the run.
        compatible_with: an older space, of the same dimension, whose vectors the new ones shall be comparable with
            ("Towards Backward-Compatible Representation Learning", Shen et al., CVPR 2020). The recipe needs an
            objective against it, ``frozen_classifier`` say. The new space records the old one and what was measured.
        gallery_encoder: the older space's; default ``gallery-encoder`` beside it, if it is there.

    Raises:
        UsageError: nothing can be written into ``out``, or it holds the older space; or there is no older space.
        SpaceMismatch: the older gallery encoder is of another space.
        ConfigError: the recipe cannot define a space, or not one that is compatible with the older.
        DataError: a source is missing, or the validation split has no labels.
    """
    old = None if compatible_with is None else Reference.open(compatible_with, gallery_encoder)
    _check(recipe, old, out)
    train, validation = load_splits(recipe)
    check_needs(recipe, train, old)
    make_folder(out)
    accelerator = make_accelerator(recipe)
    torch.manual_seed(recipe.seed)
    network = build_network(
        recipe.encoder.architecture, recipe.encoder.arguments, dim=recipe.encoder.dim, spec=recipe.input
    )
    older = None if old is None else old.space.id
    require_same_training(out, identity_of(recipe, older))
    targets = None if old is None else old.targets(recipe, train)
    context = (
        Context(len(train.classes), recipe.encoder.dim, seed=recipe.seed)
        if old is None
        else old.context(recipe, train, targets)
    )
    objectives = ObjectiveSum(recipe.objectives, context)
    classification = classification_of(objectives)
    if recipe.encoder.initial is not None:
        start_from(Path(recipe.encoder.initial), network, classification, train.classes)
    task = Task(network.to(memory_format=torch.channels_last), objectives)
    fitted = fit(
        task,
        as_training_set(train, targets),
        recipe,
        out=out,
        evaluate=_evaluate(validation, old),
        accelerator=accelerator,
        space=older,
    )
    space = mint_space(network, classification, train.classes)
    if old is not None:
        space = replace(space, compatible_with=(compatibility_record(network, old, validation),))
    if accelerator.is_main_process:
        space.save(out / "space")
    return finish(network, recipe, fitted, out, role=recipe.role, space=space.id, accelerator=accelerator)


def classification_of(objectives: ObjectiveSum) -> Classification | None:
    """The objective whose classifier defines a space, if it is among them."""
    found = dict(objectives.terms.items()).get("classification")
    return found if isinstance(found, Classification) else None


def mint_space(
    network: EncoderNetwork, classification: Classification | None, classes: tuple[str, ...]
) -> EmbeddingSpace:
    """The space that a trained network and its classifier define."""
    if classification is None:
        return EmbeddingSpace.mint(arrays_of(network), dim=network.dim, input_spec=network.spec)
    return EmbeddingSpace.mint(
        arrays_of(network),
        dim=network.dim,
        input_spec=network.spec,
        classifier=classification.classifier().detach().cpu().numpy(),
        classes=classes,
        scale=classification.scale,
    )


def _check(recipe: Recipe, old: Reference | None, out: Path) -> None:
    needs = needs_of(recipe.objectives)
    if recipe.select_by == "cosine":
        raise ConfigError("'select_by: cosine' is for query encoders", expected="map or p@1")
    if recipe.align is not None:
        raise ConfigError("'align' is for query encoders", observed=recipe.align)
    against = {need: objective for need, objective in needs.items() if need in (CLASSIFIER, TARGETS, MEMORY)}
    if old is None:
        for objective in against.values():
            raise ConfigError(
                f"the objective '{objective}' needs a space, and this training defines one",
                hint="Use it with 'hetsearch train query', or name an older space with --compatible-with.",
            )
        return
    if not against:
        raise ConfigError(
            "nothing in the recipe makes the new space compatible with the older one",
            hint="Add the objective 'frozen_classifier', which needs the older space's classifier.",
        )
    if (out / "space" / "space.json").is_file() and EmbeddingSpace.load(out).id == old.space.id:
        raise UsageError(f"'{out}' holds the older space itself, which would be lost", hint="Choose another --out.")
    if recipe.encoder.dim != old.space.dim:
        raise ConfigError(
            "'encoder.dim' is not the older space's", observed=recipe.encoder.dim, expected=old.space.dim
        )


def _evaluate(validation: LoadedImages, old: Reference | None) -> Evaluate:
    """M(g, g) on the validation split; with an older space M(new, old) and M(old, old) beside it."""
    sides = Sides.of(validation.images)
    known: dict[str, Any] = {}

    def evaluate(network: EncoderNetwork) -> dict[str, float]:
        vectors = TorchEncoder(network, name="", space="").encode_pixels(validation.pixels)
        found = retrieval_metrics(vectors, vectors, sides)
        if old is None or not old.covers(validation):
            return found
        if not known:
            known["vectors"] = old.embed(validation, network.spec)
            known["metrics"] = retrieval_metrics(known["vectors"], known["vectors"], sides, prefix="old_")
        return {**found, **retrieval_metrics(vectors, known["vectors"], sides, prefix="backward_"), **known["metrics"]}

    return evaluate
