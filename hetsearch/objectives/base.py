"""What every objective shares: the batch that it sees, and what it may know of the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol

from pydantic import Field
from torch import Tensor

from hetsearch.config import Config

LABELS = "labels"  # a class for each training image
CLASSES = "classes"  # two classes among the training images
POSITIVES = "positives"  # two images of one class in every batch
CLASSIFIER = "classifier"  # the frozen classifier of an existing space
KNOWN_CLASSES = "known classes"  # … with a row for each class of the training set
SOME_CLASSES = "some classes"  # … with a row for at least one of them
TARGETS = "targets"  # the gallery encoder's embeddings of the batch
MEMORY = "memory"  # … and of the whole training set


@dataclass(frozen=True)
class Batch:
    """One batch, as objectives see it.

    Attributes:
        embeddings: ``(batch, dim)`` unit rows, float32, of the network in training.
        labels: ``(batch,)`` class indices; -1 in a training without labels.
        targets: ``(batch, dim)`` unit rows: the gallery encoder's embeddings of the same images; a row of zeros is
            unknown; None where the training has no gallery encoder.
    """

    embeddings: Tensor
    labels: Tensor
    targets: Tensor | None = None

    @property
    def known(self) -> Tensor:
        """``(batch,)`` bool: whose target is known."""
        assert self.targets is not None  # TARGETS is among the needs of whoever asks
        return self.targets.any(dim=1)


@dataclass(frozen=True)
class Memory:
    """The gallery encoder's embeddings of the training images.

    Attributes:
        vectors: ``(n, dim)`` unit rows, of the images whose target is known.
        labels: ``(n,)`` class indices; None in a training without labels.
    """

    vectors: Tensor
    labels: Tensor | None = None


@dataclass(frozen=True)
class Context:
    """What an objective may know when it is made.

    Attributes:
        classes: number of classes of the training set.
        dim: length of an embedding.
        classifier: the space's frozen ``W``, ``(classes, dim)``, rows in the order of the training set's classes; a
            row of zeros is a class that the space lacks; None in a training that defines a space of its own.
        scale: the factor on cosines with which ``W`` was trained.
        space_classifier: ``W`` whole, ``(classes of the space, dim)``.
        memory: the gallery encoder's embeddings of the training images, where an objective needs them.
        seed: the training's.
        other_rows: rows of ``W`` whose classes the training set lacks, ``(n, dim)``; None is none.
    """

    classes: int
    dim: int
    classifier: Tensor | None = None
    scale: float | None = None
    space_classifier: Tensor | None = None
    memory: Memory | None = None
    seed: int = 0
    other_rows: Tensor | None = None


class Objective(Protocol):
    """A term of the loss. It is an ``nn.Module`` whose parameters, if any, are trained along."""

    needs: ClassVar[frozenset[str]]  # what the training has to bring, checked before it starts

    def __call__(self, batch: Batch) -> Tensor:
        """The value of the term, a scalar."""
        ...


class Weighted(Config):
    """Base of every objective's configuration: its weight in the sum."""

    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0  # 0 leaves the objective out

    def extra_needs(self) -> frozenset[str]:
        """What these settings need beyond the objective's own needs."""
        return frozenset()

    def check_dim(self, dim: int) -> None:
        """Refuse settings that do not go with embeddings of ``dim`` numbers.

        Raises:
            ConfigError: they do not.
        """

    def trains_network(self) -> bool:
        """Whether the network learns from the objective, and not the objective's own parameters alone."""
        return True
