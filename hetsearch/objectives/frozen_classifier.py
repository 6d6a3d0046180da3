"""The influence loss: cross-entropy through the gallery encoder's frozen classifier."""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hetsearch.errors import ConfigError
from hetsearch.objectives.base import Batch, Context, Weighted


class FrozenClassifierConfig(Weighted):
    """Cross-entropy through the space's frozen, normalised classifier."""

    scale: Annotated[float, Field(gt=0)] | None = None  # None: the scale that W was trained with
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class FrozenClassifier(nn.Module):
    """``CE(s · cos(q, W), y)`` with ``W`` frozen.

    Source: "Towards Backward-Compatible Representation Learning" (Shen et al., CVPR 2020), the influence loss. There
    ``W`` belongs to the old, weaker model; here it belongs to the stronger gallery encoder. Its rows are normalised,
    which by openBCT's own figures is worth more than most later losses.
    """

    classifier: Tensor

    def __init__(self, config: FrozenClassifierConfig, context: Context) -> None:
        super().__init__()
        if context.classifier is None:
            raise ConfigError(
                "the objective 'frozen_classifier' needs a space with a classifier",
                hint="Train with --space, or leave the objective out.",
            )
        self.scale = config.scale or context.scale or 16.0
        self.label_smoothing = config.label_smoothing
        self.register_buffer("classifier", context.classifier.clone(), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the batch."""
        logits = self.scale * batch.embeddings @ self.classifier.T
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)
