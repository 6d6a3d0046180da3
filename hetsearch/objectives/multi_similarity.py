"""Multi-Similarity loss with its miner, from pytorch-metric-learning."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from torch import Tensor, nn

from hetsearch.objectives.base import CLASSES, LABELS, POSITIVES, Batch, Context, Weighted


class MultiSimilarityConfig(Weighted):
    """Multi-Similarity loss; the defaults are the library's."""

    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 50.0
    base: Annotated[float, Field(allow_inf_nan=False)] = 0.5  # λ of the paper, a cosine
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1  # the miner's margin, a cosine


class MultiSimilarity(nn.Module):
    """"Multi-Similarity Loss with General Pair Weighting" (Wang et al., CVPR 2019), equations 7, 8 and 15."""

    needs: ClassVar[frozenset[str]] = frozenset({LABELS, CLASSES, POSITIVES})

    def __init__(self, config: MultiSimilarityConfig, context: Context) -> None:
        super().__init__()
        self.miner = MultiSimilarityMiner(epsilon=config.epsilon)
        self.loss = MultiSimilarityLoss(alpha=config.alpha, beta=config.beta, base=config.base)

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the batch, equation 15; an anchor without mined pairs, equations 7 and 8, adds 0."""
        pairs = self.miner(batch.embeddings, batch.labels)
        value: Tensor = self.loss(batch.embeddings, batch.labels, pairs)
        return value
