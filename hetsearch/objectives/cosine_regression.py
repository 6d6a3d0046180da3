"""Regression to the gallery encoder's embeddings of the same images."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from hetsearch.objectives.base import TARGETS, Batch, Context, Weighted


class CosineRegressionConfig(Weighted):
    """``1 − cos(q, g)``."""


class CosineRegression(nn.Module):
    """``mean(1 − cos(q, g))``, half the squared distance of unit vectors.

    "Asymmetric metric learning for knowledge transfer" (Budnik and Avrithis, CVPR 2021) found plain regression to
    work best for asymmetric testing; there too the frozen side is the stronger one.
    """

    needs: ClassVar[frozenset[str]] = frozenset({TARGETS})

    def __init__(self, config: CosineRegressionConfig, context: Context) -> None:
        super().__init__()

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the images whose target is known (a row of zeros is not)."""
        assert batch.targets is not None  # TARGETS is among the needs
        known = batch.known
        distances = 1 - (batch.embeddings * batch.targets).sum(dim=1)
        return (distances * known).sum() / known.sum().clamp(min=1)
