"""Train a query encoder into an existing space, against its frozen classifier and the gallery encoder's embeddings."""

from __future__ import annotations

from pathlib import Path

import torch

from hetsearch.bundle import CARD
from hetsearch.errors import ConfigError, DataError
from hetsearch.files import make_folder
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.torch_encoder import TorchEncoder
from hetsearch.objectives import Context, ObjectiveSum, check_objectives
from hetsearch.preprocess import InputSpec, Pixels
from hetsearch.runtime import Encoder, load_encoder
from hetsearch.runtime.threads import available_threads
from hetsearch.space import EmbeddingSpace, Vectors, require_space
from hetsearch.training.finish import Trained, finish
from hetsearch.training.images import LabelledPixels, as_tensor, load_splits, retrieval_metrics
from hetsearch.training.initial import start_from
from hetsearch.training.loop import Evaluate, fit, make_accelerator
from hetsearch.training.recipe import Recipe
from hetsearch.training.targets import cached_vectors, training_targets
from hetsearch.training.task import Task, TrainingSet


def train_query(recipe: Recipe, space_folder: Path, out: Path, *, gallery_encoder: Path | None = None) -> Trained:
    """Train a query encoder that is backward-compatible with a space; resumes what is unfinished in ``out``.

    Writes the encoder bundle ``out/query-encoder`` (weights and card; exporting adds ONNX).

    Args:
        recipe: the configuration.
        space_folder: a space, or a folder that holds ``space/``.
        out: folder of the run.
        gallery_encoder: the bundle that embeds regression targets and the validation's gallery; default
            ``gallery-encoder`` beside the space, if it is there.

    Raises:
        UsageError: nothing can be written into ``out``, or there is no space or no gallery encoder where one is named.
        SpaceMismatch: the gallery encoder is of another space.
        ConfigError: the recipe does not fit the space.
        DataError: a source is missing, or holds classes that the space lacks.
    """
    space = EmbeddingSpace.load(space_folder)
    _check(recipe, space)
    gallery = _gallery_encoder(recipe, space, space_folder, gallery_encoder)
    make_folder(out)
    train, validation = load_splits(recipe)
    accelerator = make_accelerator(recipe)
    torch.manual_seed(recipe.seed)
    network = build_network(
        recipe.encoder.architecture, recipe.encoder.arguments, dim=space.dim, spec=recipe.input
    )
    if recipe.encoder.initial is not None:
        start_from(Path(recipe.encoder.initial), network)
    context = Context(len(train.classes), space.dim, _classifier_for(space, train.classes), space.scale)
    task = Task(network.to(memory_format=torch.channels_last), ObjectiveSum(recipe.objectives, context))
    # After network and objectives: a mistake in the recipe should not wait for minutes of embedding.
    images = TrainingSet(as_tensor(train.pixels), as_tensor(train.labels), _targets(recipe, gallery, train))
    evaluate = _heterogeneous(validation, gallery)
    fitted = fit(task, images, recipe, out=out, evaluate=evaluate, accelerator=accelerator, space=space.id)
    return finish(network, recipe, fitted, out, role="query", space=space.id, accelerator=accelerator)


def _check(recipe: Recipe, space: EmbeddingSpace) -> None:
    if recipe.encoder.dim != space.dim:
        raise ConfigError("'encoder.dim' is not the space's", observed=recipe.encoder.dim, expected=space.dim)
    if recipe.data.regress is not None and not _regresses(recipe):
        raise ConfigError("'data.regress' has no use without the objective 'cosine_regression'")


def _regresses(recipe: Recipe) -> bool:
    return "cosine_regression" in check_objectives(recipe.objectives)


def _gallery_encoder(
    recipe: Recipe, space: EmbeddingSpace, space_folder: Path, named: Path | None
) -> Encoder | None:
    beside = [space_folder / "gallery-encoder", space_folder.parent / "gallery-encoder"]
    path = named or next((folder for folder in beside if (folder / CARD).is_file()), None)
    if path is None:
        if _regresses(recipe):
            raise ConfigError(
                "the objective 'cosine_regression' needs the gallery encoder",
                hint="Give --gallery-encoder BUNDLE, or leave the objective out.",
            )
        return None
    encoder = load_encoder(path, threads=available_threads())
    require_space(encoder.space, space.id, what=f"the gallery encoder '{path}' and the space '{space_folder}'")
    return encoder


def _targets(recipe: Recipe, gallery: Encoder | None, train: LabelledPixels) -> torch.Tensor | None:
    if gallery is None or not _regresses(recipe):
        return None
    pixels = _for(gallery.input, recipe.input, train)
    mirrored = recipe.augmentation.flip > 0
    return torch.from_numpy(training_targets(gallery, pixels, mirrored=mirrored, limit=recipe.data.regress))


def _for(wanted: InputSpec, has: InputSpec, images: LabelledPixels) -> Pixels:
    """The images in the gallery encoder's specification; read again only where it is another one."""
    same = {"mean", "std"}  # are applied inside the networks
    if wanted.model_dump(exclude=same) == has.model_dump(exclude=same):
        return images.pixels
    return images.in_specification(wanted)


def _classifier_for(space: EmbeddingSpace, classes: tuple[str, ...]) -> torch.Tensor | None:
    """``W`` with its rows in the order of the training set's classes."""
    if space.classifier is None:
        return None
    rows = {name: row for row, name in enumerate(space.classes)}
    missing = [name for name in classes if name not in rows]
    if missing:
        raise DataError(
            "the space's classifier lacks classes of the training set",
            observed=", ".join(missing[:5]),
            expected=f"some of: {', '.join(space.classes[:12])}",
        )
    return torch.from_numpy(space.classifier[[rows[name] for name in classes]])


def _heterogeneous(validation: LabelledPixels, gallery: Encoder | None) -> Evaluate:
    """M(q, g) on the validation split, with M(q, q) beside it; M(q, q) alone without a gallery encoder."""
    known: Vectors | None = None

    def evaluate(network: EncoderNetwork) -> dict[str, float]:
        nonlocal known
        vectors = TorchEncoder(network, name="", space="").encode_pixels(validation.pixels)
        own = retrieval_metrics(vectors, vectors, validation.labels, prefix="" if gallery is None else "homogeneous_")
        if gallery is None:
            return own
        if known is None:
            known = cached_vectors(gallery, _for(gallery.input, network.spec, validation))
        return {**retrieval_metrics(vectors, known, validation.labels), **own}

    return evaluate
