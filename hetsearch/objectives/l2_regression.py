"""Regression to the gallery encoder's embeddings by distance, with a margin that forgives small ones."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from hetsearch.objectives.base import TARGETS, Batch, Context, Weighted


class L2RegressionConfig(Weighted):
    """``max(0, ‖q − g‖ − margin)``."""

    margin: Annotated[float, Field(ge=0, lt=2)] = 0.0  # a distance of unit vectors, 0 to 2; nearer than this is enough


class L2Regression(nn.Module):
    """``mean(max(0, ‖q − g‖ − margin))`` of unit vectors, the distance itself and not its square.

    With margin 0 it is what the code of "Structure Similarity Preservation Learning for Asymmetric Image Retrieval"
    (Wu et al.) runs as AML, after "Asymmetric metric learning for knowledge transfer" (Budnik and Avrithis, CVPR 2021).
    A margin above 0 is the weakened L2 in the code of "MixBCT: Towards Self-Adapting Backward-Compatible Training"
    (Liang et al., 2023). Unlike that of ``cosine_regression``, the gradient does not fade near the target.
    """

    needs: ClassVar[frozenset[str]] = frozenset({TARGETS})

    def __init__(self, config: L2RegressionConfig, context: Context) -> None:
        super().__init__()
        self.margin = config.margin

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the images whose target is known; 0 where none is."""
        assert batch.targets is not None  # TARGETS is among the needs
        known = batch.known
        # vector_norm's gradient at 0 is 0; that of a square root of a sum would be infinite.
        distances = torch.linalg.vector_norm(batch.embeddings[known] - batch.targets[known], dim=1)
        return torch.relu(distances - self.margin).sum() / max(len(distances), 1)
