"""What is trained: a network and its objectives, and the images that they learn from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hetsearch.models.network import EncoderNetwork
from hetsearch.objectives import Batch, ObjectiveSum


@dataclass(frozen=True)
class TrainingSet:
    """Images in memory.

    Attributes:
        pixels: ``uint8 (n, channels, size, size)``.
        labels: ``int64 (n,)`` class indices.
        targets: ``float32 (2, n, dim)``: the gallery encoder's embeddings of each image and of its mirror image;
            a row of zeros is unknown; None where there is no gallery encoder.
    """

    pixels: Tensor
    labels: Tensor
    targets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


class Task(nn.Module):
    """Network and objectives as one module, so that data parallelism sees every parameter."""

    def __init__(self, network: EncoderNetwork, objectives: ObjectiveSum) -> None:
        super().__init__()
        self.network, self.objectives = network, objectives

    def forward(self, pixels: Tensor, labels: Tensor, targets: Tensor | None) -> dict[str, Tensor]:
        """The terms of the loss by name, and ``loss``."""
        embeddings = self.network(pixels)
        # Cosines times a scale of 16 need more than bfloat16's 8 bits.
        with torch.autocast(pixels.device.type, enabled=False):
            terms: dict[str, Tensor] = self.objectives(Batch(embeddings.float(), labels, targets))
        return terms
