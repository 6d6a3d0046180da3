"""LCE's boundary: be at least as near to the class centre as the gallery encoder's own embeddings are."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hetsearch.errors import ConfigError
from hetsearch.objectives.base import CLASSIFIER, LABELS, MEMORY, SOME_CLASSES, Batch, Context, Memory, Weighted


class ClassBoundaryConfig(Weighted):
    """The boundary term of LCE."""

    # Quantile of a class's cosines to its centre that is its boundary. 0 is the paper's: the farthest embedding. But
    # one wrongly labelled image puts that one near cosine 0, where the term asks nothing of the whole class; so the
    # outer tenth is cut off, as MixBCT does before it uses old embeddings.
    quantile: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.1


class ClassBoundary(nn.Module):
    """``mean max(0, boundary[y] − cos(q, w_y))``.

    ``boundary[c]`` is a quantile of ``cos(g_i, w_c)`` over the gallery encoder's embeddings of class ``c``. Within the
    boundary the term is silent, so it wants another objective beside it.

    Source: "Learning Compatible Embeddings" (Meng et al., ICCV 2021), the boundary loss. Deviations: the centre is the
    class's row of the frozen ``W`` rather than the mean of its embeddings, a quantile replaces the minimum, and the
    alignment loss is gone, because the classifier that it would align is ``W`` itself. Classes without a row in ``W``,
    or without an embedding, are left out of the term.

    Raises:
        ConfigError: no class of the training set has both.
    """

    needs: ClassVar[frozenset[str]] = frozenset({LABELS, CLASSIFIER, SOME_CLASSES, MEMORY})
    classifier: Tensor
    boundary: Tensor
    bounded: Tensor

    def __init__(self, config: ClassBoundaryConfig, context: Context) -> None:
        super().__init__()
        assert context.classifier is not None  # CLASSIFIER and MEMORY are among the needs
        assert context.memory is not None
        boundary, seen = class_boundaries(context.memory, context.classifier, config.quantile)
        bounded = seen & context.classifier.any(dim=1)
        if not bounded.any():
            raise ConfigError(
                "no class of the training set has a boundary for the objective 'class_boundary'",
                expected="a class with a row in the space's classifier and an embedding",
                hint="Leave the objective out.",
            )
        self.register_buffer("classifier", context.classifier.clone(), persistent=False)
        self.register_buffer("boundary", boundary, persistent=False)
        self.register_buffer("bounded", bounded, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the images whose class has a boundary; 0 where none has."""
        cosines = (batch.embeddings * self.classifier[batch.labels]).sum(dim=1)
        counts = self.bounded[batch.labels]
        shortfall = F.relu(self.boundary[batch.labels] - cosines) * counts
        return shortfall.sum() / counts.sum().clamp(min=1)


def class_boundaries(memory: Memory, classifier: Tensor, quantile: float) -> tuple[Tensor, Tensor]:
    """The boundary of each class.

    Args:
        memory: embeddings with labels.
        classifier: ``(classes, dim)``.
        quantile: 0 to 1, between two values interpolated linearly.

    Returns:
        Cosines ``(classes,)``, and ``(classes,)`` bool: which classes have an embedding.
    """
    assert memory.labels is not None  # LABELS is among the needs
    vectors, labels = memory.vectors.to(classifier.device), memory.labels.to(classifier.device)
    cosines = (vectors * classifier[labels]).sum(dim=1)[labels.argsort(stable=True)]
    counts = torch.bincount(labels, minlength=len(classifier))
    boundary = torch.zeros_like(classifier[:, 0])
    for label, group in enumerate(torch.split(cosines, counts.tolist())):
        if len(group):
            boundary[label] = group.quantile(quantile)
    return boundary, counts > 0
