"""Contextual similarity distillation (CSD): the same neighbours, in the same proportions, as the gallery encoder."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hetsearch.objectives.base import MEMORY, TARGETS, Batch, Context, Weighted


class ContextualConfig(Weighted):
    """``KL(softmax(cos(g, anchors) / tau_g) ‖ softmax(cos(q, anchors) / tau_q))``."""

    anchors: Literal["batch", "memory"] = "batch"  # targets of the batch, or embeddings of all training images
    # K, how many anchors, g itself among them; None is all of the batch, but 64 of the memory.
    neighbours: Annotated[int, Field(ge=2)] | None = None
    tau_g: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01  # temperature of the gallery side, a cosine
    tau_q: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1  # … of the query side; see Contextual

    def extra_needs(self) -> frozenset[str]:
        """Anchors from the memory need the memory."""
        return frozenset({MEMORY}) if self.anchors == "memory" else frozenset()


class Contextual(nn.Module):
    """``KL(p ‖ s)`` over the K anchors ``a`` nearest to ``g``.

    ``p = softmax(⟨g, a⟩ / τ_g)`` and ``s = softmax(⟨q, a⟩ / τ_q)``.

    Source: "Contextual Similarity Distillation for Asymmetric Image Retrieval" (Wu et al., CVPR 2022). ``g`` is always
    the first of its anchors, so the term also draws ``q`` to ``g``. The paper takes anchors from the training set
    (here ``memory``); AIR-Distiller, the code of "D3still" (Xie et al., CVPR 2024), from the batch, and reports better
    results so.

    Deviation: AIR-Distiller has ``τ_g`` = 0.01 and ``τ_q`` = 1. Cosines lie within ±1, so with ``τ_q`` = 1 no anchor
    can be more than e² times as likely as another: ``s`` never gets as sharp as ``p``, and the term only pushes up
    the cosines to the very nearest anchors. 0.1, a usual contrastive temperature, lets ``s`` come near ``p``. As long
    as the two differ, ``q = g`` is not quite the optimum; a regression beside this term holds ``q`` there.
    """

    needs: ClassVar[frozenset[str]] = frozenset({TARGETS})
    memory: Tensor | None

    def __init__(self, config: ContextualConfig, context: Context) -> None:
        super().__init__()
        self.neighbours, self.tau_g, self.tau_q = config.neighbours, config.tau_g, config.tau_q
        vectors = None
        if config.anchors == "memory":
            assert context.memory is not None  # MEMORY is among the extra needs
            vectors = context.memory.vectors
            self.neighbours = config.neighbours or 64
        self.register_buffer("memory", vectors, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the images whose target is known; 0 where none is, and for an image that is its only anchor."""
        assert batch.targets is not None  # TARGETS is among the needs
        known = batch.known
        light, frozen = batch.embeddings[known], batch.targets[known]
        if self.memory is None:
            index = self._nearest_in_batch(frozen)
            light_cosines = (light @ frozen.T).gather(1, index)
            frozen_cosines = (frozen @ frozen.T).gather(1, index)
        else:
            anchors = torch.cat([frozen.unsqueeze(1), self._nearest_in_memory(frozen, self.memory)], dim=1)
            light_cosines = torch.einsum("bd,bkd->bk", light, anchors)
            frozen_cosines = torch.einsum("bd,bkd->bk", frozen, anchors)
        light_log = F.log_softmax(light_cosines / self.tau_q, dim=1)
        frozen_log = F.log_softmax(frozen_cosines / self.tau_g, dim=1)
        return F.kl_div(light_log, frozen_log, reduction="sum", log_target=True) / max(len(frozen), 1)

    def _nearest_in_batch(self, frozen: Tensor) -> Tensor:
        """``(batch, dim)`` → ``(batch, K)`` positions in the batch, an image's own first; K shrinks to the batch."""
        count = min(self.neighbours or len(frozen), len(frozen))
        # Infinity on the diagonal: among equal targets too, each is its own nearest.
        return (frozen @ frozen.T).fill_diagonal_(float("inf")).topk(count, dim=1).indices

    def _nearest_in_memory(self, frozen: Tensor, memory: Tensor) -> Tensor:
        """``(batch, dim)`` → ``(batch, K − 1, dim)`` anchors beside the target itself; K shrinks to the memory."""
        assert self.neighbours is not None  # set with the memory
        cosines, index = (frozen @ memory.T).topk(min(self.neighbours, len(memory)), dim=1)
        # The target of an image as it is stored lies in the memory, and would be there twice; that of a mirrored one
        # does not. 1e-5 is above the rounding of a float32 dot product.
        is_itself = cosines[:, :1] > 1 - 1e-5
        return memory[torch.where(is_itself, index[:, 1:], index[:, :-1])]
