"""An encoder's network: pixels in, unit vectors out; and the registry of architectures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hetsearch.config import Config, validate
from hetsearch.errors import ConfigError, nearest
from hetsearch.models.compact import Compact, CompactArguments
from hetsearch.models.timm_backbone import TimmArguments, build_timm
from hetsearch.preprocess import InputSpec


class EncoderNetwork(nn.Module):
    """``uint8 (batch, channels, size, size)`` → unit rows ``(batch, dim)``, float32.

    Normalising the pixels and the vectors is part of the network, hence of its ONNX graph.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, features: int, dim: int, spec: InputSpec) -> None:
        super().__init__()
        self.spec, self.dim = spec, dim
        # Part of the input specification, not of the trained weights.
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, -1, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, -1, 1, 1) * 255, persistent=False)
        self.backbone = backbone
        self.embedding = nn.Linear(features, dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed a batch of pixels."""
        x = (pixels.float() - self.mean) / self.std
        return F.normalize(self.embedding(self.backbone(x)).float(), dim=1)


def _compact(channels: int, arguments: CompactArguments) -> tuple[nn.Module, int]:
    backbone = Compact(channels, arguments)
    return backbone, backbone.num_features


ARCHITECTURES: dict[str, tuple[type[Config], Callable[..., tuple[nn.Module, int]]]] = {
    "compact": (CompactArguments, _compact),
    "timm": (TimmArguments, build_timm),
}


def build_network(
    architecture: str, arguments: Mapping[str, Any], *, dim: int, spec: InputSpec
) -> EncoderNetwork:
    """Make an untrained encoder network.

    Args:
        architecture: a name in :data:`ARCHITECTURES`.
        arguments: its arguments, as in a configuration.
        dim: length of the vectors.
        spec: what the network takes.

    Raises:
        ConfigError: unknown architecture or wrong arguments.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture '{architecture}'", hint=nearest(architecture, ARCHITECTURES))
    kind, build = ARCHITECTURES[architecture]
    checked = validate(kind, arguments, where=f"the arguments of '{architecture}'")
    backbone, features = build(spec.channels, checked)
    return EncoderNetwork(backbone, features, dim, spec)
