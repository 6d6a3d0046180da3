"""Train a gallery encoder: it defines a space. A free encoder is trained the same way, with a small architecture."""

from __future__ import annotations

from pathlib import Path

import torch

from hetsearch.errors import ConfigError
from hetsearch.files import make_folder
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.torch_encoder import TorchEncoder
from hetsearch.models.weights import arrays_of
from hetsearch.objectives import Classification, Context, ObjectiveSum, check_objectives
from hetsearch.space import EmbeddingSpace
from hetsearch.training.finish import Trained, finish
from hetsearch.training.images import LabelledPixels, as_tensor, load_splits, retrieval_metrics
from hetsearch.training.initial import start_from
from hetsearch.training.loop import Evaluate, fit, make_accelerator
from hetsearch.training.recipe import Recipe
from hetsearch.training.task import Task, TrainingSet


def train_gallery(recipe: Recipe, out: Path) -> Trained:
    """Train an encoder that defines a space; resumes what is unfinished in ``out``.

    Writes ``out/space`` and the encoder bundle ``out/<role>-encoder`` (weights and card; exporting adds ONNX).

    Args:
        recipe: the configuration; it needs the objective ``classification``, whose ``W`` becomes the space's.
        out: folder of the run.

    Raises:
        UsageError: nothing can be written into ``out``.
        ConfigError: the recipe cannot define a space.
        DataError: a source is missing or has no labels.
    """
    used = check_objectives(recipe.objectives)
    if "classification" not in used:
        raise ConfigError("a gallery encoder needs the objective 'classification'", hint="Its W defines the space.")
    for name in ("frozen_classifier", "cosine_regression"):
        if name in used:
            raise ConfigError(
                f"the objective '{name}' needs a space, and this training defines one",
                hint="Use it with 'hetsearch train query'.",
            )
    make_folder(out)
    train, validation = load_splits(recipe)
    accelerator = make_accelerator(recipe)
    torch.manual_seed(recipe.seed)
    network = build_network(
        recipe.encoder.architecture, recipe.encoder.arguments, dim=recipe.encoder.dim, spec=recipe.input
    )
    objectives = ObjectiveSum(recipe.objectives, Context(len(train.classes), recipe.encoder.dim))
    classification = objectives.terms["classification"]
    assert isinstance(classification, Classification)  # the registry's
    if recipe.encoder.initial is not None:
        start_from(Path(recipe.encoder.initial), network, classification, train.classes)
    task = Task(network.to(memory_format=torch.channels_last), objectives)
    images = TrainingSet(as_tensor(train.pixels), as_tensor(train.labels))
    fitted = fit(task, images, recipe, out=out, evaluate=_homogeneous(validation), accelerator=accelerator)
    space = mint_space(network, classification, train.classes)
    if accelerator.is_main_process:
        space.save(out / "space")
    return finish(network, recipe, fitted, out, role=recipe.role, space=space.id, accelerator=accelerator)


def mint_space(network: EncoderNetwork, classification: Classification, classes: tuple[str, ...]) -> EmbeddingSpace:
    """The space that a trained network and its classifier define."""
    return EmbeddingSpace.mint(
        arrays_of(network),
        dim=network.dim,
        input_spec=network.spec,
        classifier=classification.classifier().detach().cpu().numpy(),
        classes=classes,
        scale=classification.scale,
    )


def _homogeneous(validation: LabelledPixels) -> Evaluate:
    def evaluate(network: EncoderNetwork) -> dict[str, float]:
        vectors = TorchEncoder(network, name="", space="").encode_pixels(validation.pixels)
        return retrieval_metrics(vectors, vectors, validation.labels)

    return evaluate
