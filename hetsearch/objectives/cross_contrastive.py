"""NCCL: supervised contrast across the two encoders, each positive weighted by how credible it is."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hetsearch.objectives.base import CLASSES, LABELS, TARGETS, Batch, Context, Weighted


class CrossContrastiveConfig(Weighted):
    """Supervised contrast between the network's embeddings and the gallery encoder's."""

    # Divides cosines. With 1, as in re-implementations, a softmax over cosines stays nearly flat and asks for little;
    # 0.1 is usual for contrast of unit vectors.
    tau: Annotated[float, Field(ge=0.001, allow_inf_nan=False)] = 0.1


class CrossContrastive(nn.Module):
    """``mean_i −1/|P(i)| Σ_{j∈P(i)} w_ij · log softmax_j(q_i·g_j / τ)``, ``w_ij = (1 + cos(g_i, g_j)) / 2``.

    ``P(i)`` are the images of the batch with the label of ``i``, itself included; the softmax runs over all images of
    the batch whose target is known.

    Source: "Neighborhood Consensus Contrastive Learning for Backward-Compatible Representation" (Wu et al., AAAI 2022),
    the term in the embedding space. Deviations: the batch's own targets take the place of a queue of old embeddings,
    no old embedding is filtered out, and the second term, on logits, is left to 'soft_labels'.
    """

    needs: ClassVar[frozenset[str]] = frozenset({LABELS, CLASSES, TARGETS})

    def __init__(self, config: CrossContrastiveConfig, context: Context) -> None:
        super().__init__()
        self.tau = config.tau

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the images whose target is known; 0 where none is."""
        assert batch.targets is not None  # TARGETS is among the needs
        known = batch.known
        logits = batch.embeddings @ batch.targets.T / self.tau
        # Not minus infinity: a batch without any known target would divide 0 by 0.
        log_shares = F.log_softmax(logits.masked_fill(~known, torch.finfo(logits.dtype).min / 2), dim=1)
        positives = (batch.labels[:, None] == batch.labels) & known & known[:, None]
        weights = (1 + batch.targets @ batch.targets.T) / 2
        gains = torch.where(positives, weights * log_shares, 0).sum(dim=1) / positives.sum(dim=1).clamp(min=1)
        return -gains.sum() / known.sum().clamp(min=1)
