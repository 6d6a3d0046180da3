"""What every objective shares: the batch that it sees, and what it may know of the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol

from pydantic import Field
from torch import Tensor

from hetsearch.config import Config


@dataclass(frozen=True)
class Batch:
    """One batch, as objectives see it.

    Attributes:
        embeddings: ``(batch, dim)`` unit rows, float32, of the network in training.
        labels: ``(batch,)`` class indices.
        targets: ``(batch, dim)`` unit rows: the gallery encoder's embeddings of the same images; None where the
            training has no gallery encoder.
    """

    embeddings: Tensor
    labels: Tensor
    targets: Tensor | None = None


@dataclass(frozen=True)
class Context:
    """What an objective may know when it is made.

    Attributes:
        classes: number of classes of the training set.
        dim: length of an embedding.
        classifier: the space's frozen ``W``, ``(classes, dim)``, rows in the order of the training set's classes;
            None in a training that defines a space of its own.
        scale: the factor on cosines with which ``W`` was trained.
    """

    classes: int
    dim: int
    classifier: Tensor | None = None
    scale: float | None = None


class Objective(Protocol):
    """A term of the loss. It is an ``nn.Module`` whose parameters, if any, are trained along."""

    def __call__(self, batch: Batch) -> Tensor:
        """The value of the term, a scalar."""
        ...


class Weighted(Config):
    """Base of every objective's configuration: its weight in the sum."""

    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0  # 0 leaves the objective out
