"""From a recipe's sources to images in memory, and the metrics of a network on its validation split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hetsearch import metrics
from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import load_pixels
from hetsearch.data.sides import Sides
from hetsearch.data.sources import open_source
from hetsearch.errors import DataError
from hetsearch.preprocess import InputSpec, Pixels
from hetsearch.space import Vectors
from hetsearch.training.recipe import Recipe
from hetsearch.training.task import TrainingSet


@dataclass(frozen=True)
class LoadedImages:
    """Images of one split in memory.

    Attributes:
        pixels: ``uint8 (n, channels, size, size)``.
        labels: ``int64 (n,)``, an index into ``classes``; None where the images have none.
        classes: names; empty without labels.
        images: where the pixels came from.
    """

    pixels: Pixels
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    images: ImageSet

    def in_specification(self, spec: InputSpec) -> Pixels:
        """The same images read for another encoder, ``uint8 (n, channels, size, size)``."""
        return load_pixels(self.images, spec)


def load_splits(recipe: Recipe) -> tuple[LoadedImages, LoadedImages]:
    """The training and the validation split of a recipe.

    Raises:
        DataError: a source is missing, or the validation split cannot decide what the recipe chooses by: it has no
            labels, or no query among its images has anything to find.
    """
    train = open_source(recipe.data.train)
    validation = open_source(recipe.data.validation)
    if recipe.data.classes is not None:
        train = _first_classes(train, recipe.data.classes)
    if recipe.data.limit is not None:
        train = first_of_each_class(train, recipe.data.limit)
    if recipe.select_by in ("map", "p@1"):
        check_decides(validation)
    return load_images(train, recipe.input), load_images(validation, recipe.input)


def per_query_metrics(query: Vectors, gallery: Vectors, sides: Sides) -> dict[str, NDArray[np.float64]]:
    """``p@1`` and ``map`` of each query that has positives, ``(queries,)``, by the protocol of the images.

    Args:
        query: ``(n, dim)``, of all images.
        gallery: ``(n, dim)``, of the same images.
        sides: who asks and who answers.
    """
    asking = sides.query(query)
    found = np.full((2, len(asking)), np.nan)
    for block, relevance in metrics.ranked_relevance(asking, sides.gallery(gallery)):
        found[0, block] = metrics.precision_at_1(relevance)
        found[1, block] = metrics.average_precision(relevance)
    scored = found[:, ~np.isnan(found[1])]
    return {"p@1": scored[0], "map": scored[1]}


def retrieval_metrics(query: Vectors, gallery: Vectors, sides: Sides, *, prefix: str = "") -> dict[str, float]:
    """The means of :func:`per_query_metrics`, each name with ``prefix`` in front."""
    rows = per_query_metrics(query, gallery, sides)
    return {f"{prefix}{name}": float(row.mean()) for name, row in rows.items()}


def as_tensor(array: NDArray[np.generic]) -> torch.Tensor:
    """An array as a tensor that shares its memory."""
    return torch.from_numpy(array)


def as_training_set(images: LoadedImages, targets: torch.Tensor | None = None) -> TrainingSet:
    """The images as tensors; without labels every label is -1."""
    labels = np.full(len(images.pixels), -1) if images.labels is None else images.labels
    return TrainingSet(as_tensor(images.pixels), as_tensor(labels), targets)


def check_decides(images: ImageSet) -> None:
    """Refuse images on which retrieval cannot be measured.

    Raises:
        DataError: they have no labels, or no query among them has anything to find.
    """
    if images.labels is None:
        raise DataError(
            f"'{images.name}' has no labels",
            expected="a label for each image",
            hint="Put the images into class sub-folders, or add a column 'label' to the manifest; the training of a "
            "query encoder can also choose without labels: select_by: cosine.",
        )
    if not Sides.of(images).any_positive():
        alone = len(images.classes) == len(images)
        raise DataError(
            f"'{images.name}' cannot tell which epoch is best",
            observed=f"{len(images)} images, each of a class of its own" if alone else "no query with a right answer",
            expected="classes with two images or more, not all of one group, and on both sides where there are roles",
        )


def load_images(images: ImageSet, spec: InputSpec) -> LoadedImages:
    """Read images into memory, each as an encoder of this specification takes it."""
    pixels = load_pixels(images, spec)
    if images.labels is None:
        return LoadedImages(pixels, None, (), images)
    index = {name: row for row, name in enumerate(images.classes)}
    labels = np.array([index[label] for label in images.labels], dtype=np.int64)
    return LoadedImages(pixels, labels, images.classes, images)


def _first_classes(images: ImageSet, count: int) -> ImageSet:
    if images.labels is None or count > len(images.classes):
        raise DataError(
            f"'{images.name}' has too few classes for 'data.classes'",
            observed=0 if images.labels is None else len(images.classes),
            expected=f"at least {count}",
        )
    kept = set(images.classes[:count])
    return images.subset([row for row, label in enumerate(images.labels) if label in kept])


def first_of_each_class(images: ImageSet, limit: int) -> ImageSet:
    """The first ``limit`` images of each class, and within it of each role where there are roles."""
    taken: Counter[tuple[str, str]] = Counter()
    chosen = []
    kinds = zip(images.labels or [""] * len(images), images.roles or [""] * len(images), strict=True)
    for position, kind in enumerate(kinds):
        taken[kind] += 1
        if taken[kind] <= limit:
            chosen.append(position)
    return images.subset(chosen)
