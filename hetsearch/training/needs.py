"""What the objectives of a recipe need, checked before minutes of embedding and hours of training."""

from __future__ import annotations

import numpy as np

from hetsearch.errors import ConfigError, HetsearchError
from hetsearch.objectives import (
    CLASSES,
    CLASSIFIER,
    KNOWN_CLASSES,
    LABELS,
    MEMORY,
    POSITIVES,
    SOME_CLASSES,
    TARGETS,
    check_objectives,
    needs_of,
)
from hetsearch.training.images import LoadedImages
from hetsearch.training.recipe import Recipe
from hetsearch.training.reference import Reference
from hetsearch.training.sampling import Indices, batches_of_epoch

WAYS_OUT = {
    LABELS: (
        "labels of the training images",
        "Put the images into class sub-folders, add a column 'label' to the manifest, or train with objectives that "
        "need none (soft_labels, cosine_regression, contextual …).",
    ),
    CLASSES: (
        "images of two classes",
        "With one class there is nothing to tell apart: add images of another.",
    ),
    CLASSIFIER: (
        "a space with a classifier",
        "Leave the objective out, or train into a space whose gallery encoder learnt with the objective "
        "'classification'.",
    ),
    TARGETS: (
        "the gallery encoder's embeddings",
        "Give --gallery-encoder BUNDLE or --gallery-vectors GALLERY, or leave the objective out.",
    ),
    POSITIVES: (
        "two images of one class in every batch",
        "Set batches.samples_per_class, and train on classes of several images.",
    ),
}


def check_needs(recipe: Recipe, train: LoadedImages, reference: Reference | None = None) -> None:
    """Refuse a training that lacks something which its objectives need.

    Args:
        recipe: the configuration.
        train: the training images.
        reference: the space that is trained into; None where the training defines one alone.

    Raises:
        ConfigError: what is missing, for which objective, and the way out; or a batch cannot be filled; or an objective
            does not go with the dimension.
    """
    for terms in check_objectives(recipe.objectives).values():
        terms.check_dim(recipe.encoder.dim)
    needs = needs_of(recipe.objectives)
    for need, objective in needs.items():
        if need in (LABELS, CLASSES, POSITIVES) and train.labels is None:
            raise _lacks(objective, LABELS, observed=f"'{train.images.name}' has none")
        if need == CLASSES and len(train.classes) < 2:
            raise _lacks(objective, CLASSES, observed=f"'{train.images.name}' has {', '.join(train.classes)} alone")
        if need == CLASSIFIER and (reference is None or reference.space.classifier is None):
            observed = None if reference is None else f"{reference.space.id} has none"
            raise _lacks(objective, CLASSIFIER, observed=observed)
        if need in (TARGETS, MEMORY) and (reference is None or not reference.knows_embeddings):
            raise _lacks(objective, TARGETS)
    if KNOWN_CLASSES in needs and reference is not None:
        _check_classes(needs[KNOWN_CLASSES], train, reference)
    if SOME_CLASSES in needs and reference is not None:
        _check_some_class(needs[SOME_CLASSES], train, reference)
    if recipe.data.regress is not None and not {TARGETS, MEMORY} & needs.keys():
        raise ConfigError("'data.regress' has no use without an objective that needs the gallery encoder's embeddings")
    if recipe.data.regress is not None and reference is not None and reference.embeddings is not None:
        raise ConfigError(
            "'data.regress' says how many images the gallery encoder embeds, and a gallery has done so already",
            hint="Leave it out (--data.regress null), or give --gallery-encoder instead of --gallery-vectors.",
        )
    if recipe.batches.samples_per_class and train.labels is None:
        raise ConfigError("'batches.samples_per_class' needs labels", observed=f"'{train.images.name}' has none")
    labels = np.full(len(train.pixels), -1) if train.labels is None else train.labels
    batches_of_epoch(labels, recipe.batches, seed=recipe.seed, epoch=0)  # refuses what cannot be filled
    if POSITIVES in needs:
        for epoch in range(recipe.schedule.epochs):
            batches = batches_of_epoch(labels, recipe.batches, seed=recipe.seed, epoch=epoch)
            _check_positives(needs[POSITIVES], labels, batches, epoch)


def _lacks(objective: str, need: str, observed: str | None = None) -> HetsearchError:
    what, way_out = WAYS_OUT[need]
    return ConfigError(f"the objective '{objective}' needs {what}", observed=observed, hint=way_out)


def _check_classes(objective: str, train: LoadedImages, reference: Reference) -> None:
    missing = [name for name in train.classes if name not in reference.space.classes]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ConfigError(
            f"the space's classifier lacks classes of the training set, which the objective '{objective}' needs",
            observed=", ".join(missing[:5]) + more,
            expected=f"some of: {', '.join(reference.space.classes[:12])}",
            hint=f"Set objectives.{objective}.missing to 'pseudo' (rows made from the gallery encoder's embeddings) or "
            "'drop' (such images are left out of the term).",
        )


def _check_some_class(objective: str, train: LoadedImages, reference: Reference) -> None:
    if not set(train.classes) & set(reference.space.classes):
        raise ConfigError(
            f"the space's classifier lacks every class of the training set, and the objective '{objective}' needs one",
            observed=", ".join(train.classes[:12]),
            expected=f"some of: {', '.join(reference.space.classes[:12])}",
            hint="Leave the objective out, or train on images of classes that the space knows.",
        )


def _check_positives(objective: str, labels: Indices, batches: list[Indices], epoch: int) -> None:
    for number, batch in enumerate(batches, start=1):
        images = np.unique(batch)  # a balanced batch has an image several times where its class has too few
        if len(np.unique(labels[images])) == len(images):
            where = f"batch {number} of {len(batches)}" + (f" in epoch {epoch + 1}" if epoch else "")
            raise _lacks(objective, POSITIVES, observed=f"{where} has {len(images)} different classes")
