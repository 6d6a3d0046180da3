"""From a recipe's sources to images in memory, and the metrics of a network on its validation split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from hetsearch import metrics
from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import load_pixels
from hetsearch.data.sources import open_source
from hetsearch.errors import DataError
from hetsearch.preprocess import InputSpec, Pixels
from hetsearch.space import Vectors
from hetsearch.training.recipe import Recipe


@dataclass(frozen=True)
class LabelledPixels:
    """Images of one split in memory.

    Attributes:
        pixels: ``uint8 (n, channels, size, size)``.
        labels: ``int64 (n,)``, an index into ``classes``.
        classes: names.
        images: where the pixels came from.
    """

    pixels: Pixels
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    images: ImageSet

    def in_specification(self, spec: InputSpec) -> Pixels:
        """The same images read for another encoder, ``uint8 (n, channels, size, size)``."""
        return load_pixels(self.images, spec)


def load_splits(recipe: Recipe) -> tuple[LabelledPixels, LabelledPixels]:
    """The training and the validation split of a recipe.

    Raises:
        DataError: a source is missing, has no labels, or cannot decide anything: no two validation images share one.
    """
    train = open_source(recipe.data.train)
    validation = open_source(recipe.data.validation)
    if recipe.data.limit is not None:
        train = _first_of_each_class(train, recipe.data.limit)
    if validation.labels is not None and len(validation.classes) == len(validation):
        raise DataError(
            f"'{validation.name}' cannot tell which epoch is best",
            observed=f"{len(validation)} images, each of a class of its own",
            expected="classes with two images or more",
        )
    return _load(train, recipe), _load(validation, recipe)


def retrieval_metrics(
    query: Vectors, gallery: Vectors, labels: NDArray[np.int64], *, prefix: str = ""
) -> dict[str, float]:
    """P@1 and mAP, leave-one-out: row i of both sides is the same image.

    Args:
        query: ``(n, dim)``.
        gallery: ``(n, dim)``.
        labels: ``(n,)``.
        prefix: put before the names.
    """
    keys = np.arange(len(labels))
    first = np.full(len(labels), np.nan)
    average = np.full(len(labels), np.nan)
    rows = metrics.ranked_relevance(
        metrics.Items(query, labels, keys=keys), metrics.Items(gallery, labels, keys=keys)
    )
    for block, relevance in rows:
        first[block] = metrics.precision_at_1(relevance)
        average[block] = metrics.average_precision(relevance)
    return {f"{prefix}p@1": float(np.nanmean(first)), f"{prefix}map": float(np.nanmean(average))}


def as_tensor(array: NDArray[np.generic]) -> torch.Tensor:
    """An array as a tensor that shares its memory."""
    return torch.from_numpy(array)


def _load(images: ImageSet, recipe: Recipe) -> LabelledPixels:
    if images.labels is None:
        raise DataError(
            f"'{images.name}' has no labels",
            expected="a label for each image",
            hint="Put the images into class sub-folders, or add a column 'label' to the manifest.",
        )
    index = {name: row for row, name in enumerate(images.classes)}
    labels = np.array([index[label] for label in images.labels], dtype=np.int64)
    return LabelledPixels(load_pixels(images, recipe.input), labels, images.classes, images)


def _first_of_each_class(images: ImageSet, limit: int) -> ImageSet:
    taken: dict[str, int] = {}
    chosen = []
    for position, label in enumerate(images.labels or ()):
        taken[label] = taken.get(label, 0) + 1
        if taken[label] <= limit:
            chosen.append(position)
    return images.subset(chosen)
