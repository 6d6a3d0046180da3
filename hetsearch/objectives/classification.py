"""Cross-entropy on a normalised classifier that is trained along: cosines times a scale."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hetsearch.objectives.base import CLASSES, LABELS, Batch, Context, Weighted


class ClassificationConfig(Weighted):
    """Cross-entropy on an own normalised classifier."""

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 16.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    detached: bool = False  # the rows learn from the embeddings, which take no notice: other objectives make them

    def trains_network(self) -> bool:
        """Not where the embeddings take no notice."""
        return not self.detached


class Classification(nn.Module):
    """``CE(s · cos(e, W), y)`` with unit rows in both, as in "NormFace" (Wang et al., 2017), equation 7."""

    needs: ClassVar[frozenset[str]] = frozenset({LABELS, CLASSES})

    def __init__(self, config: ClassificationConfig, context: Context) -> None:
        super().__init__()
        self.scale, self.label_smoothing, self.detached = config.scale, config.label_smoothing, config.detached
        self.weight = nn.Parameter(F.normalize(torch.randn(context.classes, context.dim), dim=1))

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the batch."""
        embeddings = batch.embeddings.detach() if self.detached else batch.embeddings
        logits = self.scale * embeddings @ self.classifier().T
        return F.cross_entropy(logits, batch.labels, label_smoothing=self.label_smoothing)

    def classifier(self) -> Tensor:
        """``W`` with unit rows, ``(classes, dim)``: what defines the space."""
        return F.normalize(self.weight, dim=1)
