"""D3still: differences of similarities, decoupled into those with the wrong sign and those with the right one."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from hetsearch.objectives.base import TARGETS, Batch, Context, Weighted


class D3stillConfig(Weighted):
    """Distances to the target, and errors in the order of its neighbours; the default weights are its authors'."""

    neighbours: Annotated[int, Field(ge=3)] = 10  # K nearest in the batch, the image itself among them
    alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 200.0  # weight of the similarity to the own target
    beta: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0  # … of hard pairs: in the wrong order
    gamma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0  # … of simple pairs: in the right order

    @model_validator(mode="after")
    def _has_a_term(self) -> D3stillConfig:
        if not self.alpha and not self.beta and not self.gamma:
            raise ValueError("alpha, beta and gamma are all 0, so there is nothing to learn")
        return self


class D3still(nn.Module):
    """``α·‖⟨g_i, g_i⟩ − ⟨q_i, g_i⟩‖₂/B + mean_i (β·‖e_i over hard pairs‖₂ + γ·‖e_i over simple pairs‖₂)/(K − 1)``.

    For image ``i`` let ``t_k = ⟨g_i, g_k⟩`` and ``s_k = ⟨q_i, g_k⟩`` over its K − 1 nearest others by ``t`` in the
    batch, ``Δᵗ_jk = t_j − t_k``, ``Δˢ_jk = s_j − s_k`` over all ordered pairs of them, and the normalised error
    ``e_jk = (Δˢ_jk − Δᵗ_jk)/(0.1 + |Δᵗ_jk|)``. A pair is hard where ``Δˢ`` and ``Δᵗ`` have opposite signs, and
    simple where they have the same; where one of them is 0, it is neither. The norm of the first term runs over the
    whole batch of B images.

    Source: "D3still: Decoupled Differential Distillation for Asymmetric Image Retrieval" (Xie et al., CVPR 2024),
    as in the authors' code.

    Deviations: the code replaces a ``Δᵗ`` of 0 by 1, so that equal neighbours count as wrong, and we leave the pair
    out; an image is its own rank 0 also where another has the same target; K shrinks to a smaller batch. As there,
    the sum is no continuous function of ``q``: it jumps where ``Δˢ`` changes sign.
    """

    needs: ClassVar[frozenset[str]] = frozenset({TARGETS})

    def __init__(self, config: D3stillConfig, context: Context) -> None:
        super().__init__()
        self.others = config.neighbours - 1
        self.alpha, self.beta, self.gamma = config.alpha, config.beta, config.gamma

    def forward(self, batch: Batch) -> Tensor:
        """Over the images whose target is known; 0 where none is, and the first term alone where fewer than three."""
        assert batch.targets is not None  # TARGETS is among the needs
        known = batch.known
        light, frozen = batch.embeddings[known], batch.targets[known]
        count = max(len(frozen), 1)
        own: Tensor = torch.linalg.vector_norm(((frozen - light) * frozen).sum(dim=1)) / count
        hard, simple = self._order(light, frozen)
        return self.alpha * own + (self.beta * hard + self.gamma * simple).sum() / count

    def _order(self, light: Tensor, frozen: Tensor) -> tuple[Tensor, Tensor]:
        """``(batch, dim)`` twice → ``(batch,)`` twice: ``‖e‖₂/(K − 1)`` over each image's hard and simple pairs."""
        others = max(min(self.others, len(frozen) - 1), 0)
        cosines = frozen @ frozen.T
        index = cosines.clone().fill_diagonal_(-torch.inf).topk(others, dim=1).indices
        expected = _differences(cosines.gather(1, index))
        observed = _differences((light @ frozen.T).gather(1, index))
        errors = (observed - expected) / (0.1 + expected.abs())
        agreement = (observed * expected).detach()
        hard = torch.linalg.vector_norm(errors * (agreement < 0), dim=(1, 2)) / max(others, 1)
        simple = torch.linalg.vector_norm(errors * (agreement > 0), dim=(1, 2)) / max(others, 1)
        return hard, simple


def _differences(values: Tensor) -> Tensor:
    """``(batch, n)`` → ``(batch, n, n)``: ``values_j − values_k``."""
    return values.unsqueeze(2) - values.unsqueeze(1)
