"""Similarities across the two encoders, regressed to those inside the gallery encoder (RAML)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator
from torch import Tensor, nn

from hetsearch.objectives.base import TARGETS, Batch, Context, Weighted


class SimilarityConfig(Weighted):
    """RAML's absolute and relative term across encoders; the default weights are the paper's."""

    absolute: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0  # weight of (1 − cos(q, g))²
    relative: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.7482  # λ₁, of q's cosines to the others' g

    @model_validator(mode="after")
    def _has_a_term(self) -> SimilarityConfig:
        if not self.absolute and not self.relative:
            raise ValueError("absolute and relative are both 0, so there is nothing to learn")
        return self


class Similarity(nn.Module):
    """``absolute · mean_i (1 − cos(q_i, g_i))² + relative · mean_{i≠j} (cos(q_i, g_j) − cos(g_i, g_j))²``.

    Source: "Large-to-Small Image Resolution Asymmetry in Deep Metric Learning" (Suma and Tolias, WACV 2023), the
    absolute term and the cross-model relative term, ``λ₁`` as tuned there on SOP.

    Deviations: the third term (``λ₂``, similarities inside the query encoder) is left out, for it does not touch the
    search across encoders; the authors' ``ε`` of 1e-6 inside both squares, too small to matter in float32, is left
    out; an image is one view, not a set of augmented views.
    """

    needs: ClassVar[frozenset[str]] = frozenset({TARGETS})

    def __init__(self, config: SimilarityConfig, context: Context) -> None:
        super().__init__()
        self.absolute, self.relative = config.absolute, config.relative

    def forward(self, batch: Batch) -> Tensor:
        """Means over the images, and ordered pairs of them, whose targets are known; 0 where there are none."""
        assert batch.targets is not None  # TARGETS is among the needs
        known = batch.known
        light, frozen = batch.embeddings[known], batch.targets[known]
        count = len(frozen)
        absolute = (1 - (light * frozen).sum(dim=1)).square().sum() / max(count, 1)
        differences = (light @ frozen.T - frozen @ frozen.T).fill_diagonal_(0)
        relative = differences.square().sum() / max(count * (count - 1), 1)
        return self.absolute * absolute + self.relative * relative
