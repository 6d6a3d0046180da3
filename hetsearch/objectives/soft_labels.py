"""Anchored distillation: the gallery encoder's own logits through its frozen classifier, without labels."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hetsearch.objectives.base import CLASSIFIER, TARGETS, Batch, Context, Weighted


class SoftLabelsConfig(Weighted):
    """``KL(softmax(W g) ‖ softmax(W q))`` through the space's frozen classifier; both sides share the factor s / T."""

    scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # None: the scale that W was trained with
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0  # T, divides the scale; above 1 softens


class SoftLabels(nn.Module):
    """``KL(softmax(s/T · W g) ‖ softmax(s/T · W q))`` with ``W`` frozen, through all rows of ``W``.

    Source: "Distilling the Knowledge in a Neural Network" (Hinton et al., 2015), section 2, made asymmetric: there
    each network has a classifier of its own, which in asymmetric search ends at chance; here both sides go through the
    gallery encoder's, so the classes' rows are fixed anchors. It is also the answer of "Towards Backward-Compatible
    Representation Learning" (Shen et al., CVPR 2020) to images whose class ``W`` lacks: no label is read.

    Deviations: no factor T² (the objective's weight does that), and the teacher's entropy is taken off, which leaves
    the gradient as it is and makes 0 the optimum.
    """

    needs: ClassVar[frozenset[str]] = frozenset({TARGETS, CLASSIFIER})
    classifier: Tensor

    def __init__(self, config: SoftLabelsConfig, context: Context) -> None:
        super().__init__()
        assert context.space_classifier is not None  # CLASSIFIER is among the needs
        self.scale = (config.scale or context.scale or 16.0) / config.temperature
        self.register_buffer("classifier", context.space_classifier.clone(), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the images whose target is known; 0 where none is."""
        assert batch.targets is not None  # TARGETS is among the needs
        known = batch.known
        light = F.log_softmax(self.scale * batch.embeddings[known] @ self.classifier.T, dim=1)
        frozen = F.log_softmax(self.scale * batch.targets[known] @ self.classifier.T, dim=1)
        return F.kl_div(light, frozen, reduction="sum", log_target=True) / max(len(frozen), 1)
