"""The influence loss: cross-entropy through the gallery encoder's frozen classifier."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hetsearch.errors import ConfigError
from hetsearch.objectives.base import (
    CLASSIFIER,
    KNOWN_CLASSES,
    LABELS,
    MEMORY,
    SOME_CLASSES,
    Batch,
    Context,
    Memory,
    Weighted,
)

MISSING = -1  # row of a class that takes no part


class FrozenClassifierConfig(Weighted):
    """Cross-entropy through the space's frozen, normalised classifier."""

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # None: the scale that W was trained with
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    margin: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0  # a cosine, taken from the true class's
    # Classes that the space's classifier lacks: refuse the training, drop their images from the term, or make rows
    # from the gallery encoder's embeddings.
    missing: Literal["refuse", "drop", "pseudo"] = "refuse"

    def extra_needs(self) -> frozenset[str]:
        """A row for each class or for some, or embeddings to make the missing ones from."""
        return frozenset({{"refuse": KNOWN_CLASSES, "drop": SOME_CLASSES, "pseudo": MEMORY}[self.missing]})


class FrozenClassifier(nn.Module):
    """``CE(s · (cos(q, W) − m · 1[true class]), y)`` with ``W`` frozen.

    Source: "Towards Backward-Compatible Representation Learning" (Shen et al., CVPR 2020), the influence loss. There
    ``W`` belongs to the old, weaker model; here it belongs to the stronger gallery encoder. Its rows are normalised,
    which by openBCT's own figures is worth more than most later losses. The margin is that of "CosFace" (Wang et al.,
    CVPR 2018), equation 4; the other possibility, an angular one (``cos(θ + m)``, as SSP's HVS has it), is not built.

    All of ``W`` takes part, also the rows of classes that the training set lacks. A class that ``W`` lacks takes no
    part, not even as a negative ("drop"), or gets a pseudo-classifier: the normalised mean of the gallery encoder's
    embeddings of its images ("pseudo"; Shen et al., the synthesised classifier; here only the missing rows are
    synthesised).

    Raises:
        ConfigError: for "pseudo", some class has neither row nor images.
    """

    needs: ClassVar[frozenset[str]] = frozenset({LABELS, CLASSIFIER})
    classifier: Tensor
    row_of: Tensor

    def __init__(self, config: FrozenClassifierConfig, context: Context) -> None:
        super().__init__()
        assert context.classifier is not None  # CLASSIFIER is among the needs
        self.scale = config.scale or context.scale or 16.0
        self.label_smoothing, self.margin = config.label_smoothing, config.margin
        rows = context.classifier
        if config.missing == "pseudo":
            assert context.memory is not None  # MEMORY is among the extra needs
            rows = with_pseudo_rows(rows, context.memory)
        held = rows.any(dim=1)
        assert held.all() or config.missing != "refuse"  # KNOWN_CLASSES is among the extra needs, or SOME_CLASSES
        assert held.any()
        others = rows[:0] if context.other_rows is None else context.other_rows
        self.register_buffer("classifier", torch.cat([rows[held], others]), persistent=False)
        self.register_buffer("row_of", torch.where(held, held.cumsum(dim=0) - 1, MISSING), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the images whose class has a row; 0 where none has."""
        rows = self.row_of[batch.labels]
        cosines = batch.embeddings @ self.classifier.T
        if self.margin:
            cosines = cosines - self.margin * F.one_hot(rows.clamp(min=0), len(self.classifier))
        total = F.cross_entropy(
            self.scale * cosines, rows, ignore_index=MISSING, reduction="sum", label_smoothing=self.label_smoothing
        )
        return total / (rows != MISSING).sum().clamp(min=1)


def with_pseudo_rows(classifier: Tensor, memory: Memory) -> Tensor:
    """``classifier`` with each row of zeros replaced by the normalised mean of that class's embeddings.

    Args:
        classifier: ``(classes, dim)``.
        memory: embeddings with labels.

    Raises:
        ConfigError: a class has neither a row nor an embedding.
    """
    assert memory.labels is not None  # LABELS is among the needs
    vectors, labels = memory.vectors.to(classifier), memory.labels.to(classifier.device)
    means = F.normalize(torch.zeros_like(classifier).index_add_(0, labels, vectors), dim=1)
    missing = ~classifier.any(dim=1)
    unseen = missing & (torch.bincount(labels, minlength=len(classifier)) == 0)
    if unseen.any():
        raise ConfigError(
            "some classes have neither a row in the space's classifier nor an embedding to make one from",
            observed=f"{int(unseen.sum())} of {len(classifier)} classes",
            hint="Embed more of the training images (data.regress), or set objectives.frozen_classifier.missing to "
            "'drop'.",
        )
    return torch.where(missing[:, None], means, classifier)
