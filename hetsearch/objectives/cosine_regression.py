"""Regression to the gallery encoder's embeddings of the same images."""

from __future__ import annotations

from torch import Tensor, nn

from hetsearch.errors import ConfigError
from hetsearch.objectives.base import Batch, Context, Weighted


class CosineRegressionConfig(Weighted):
    """``1 − cos(q, g)``."""


class CosineRegression(nn.Module):
    """``mean(1 − cos(q, g))``, half the squared distance of unit vectors.

    "Asymmetric metric learning for knowledge transfer" (Budnik and Avrithis, CVPR 2021) found plain regression to
    work best for asymmetric testing; there too the frozen side is the stronger one.
    """

    def __init__(self, config: CosineRegressionConfig, context: Context) -> None:
        super().__init__()

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the images whose target is known (a row of zeros is not)."""
        if batch.targets is None:
            raise ConfigError(
                "the objective 'cosine_regression' needs the gallery encoder's embeddings",
                hint="Give --gallery-encoder, or leave the objective out.",
            )
        known = batch.targets.any(dim=1)
        distances = 1 - (batch.embeddings * batch.targets).sum(dim=1)
        return (distances * known).sum() / known.sum().clamp(min=1)
