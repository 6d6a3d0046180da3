"""An encoder's network: pixels in, unit vectors out; and the registry of architectures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hetsearch.config import Config, validate
from hetsearch.errors import ConfigError, nearest
from hetsearch.models.choice_network import ChoiceArguments, build_choice
from hetsearch.models.compact import Compact, CompactArguments
from hetsearch.models.prototypes import PrototypeAttention
from hetsearch.models.timm_backbone import TimmArguments, build_timm
from hetsearch.models.torchvision_backbone import TorchvisionArguments, build_torchvision
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
        self.prototypes: PrototypeAttention | None = None  # fitted after the training, where that was asked for

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed a batch of pixels."""
        x = (pixels.float() - self.mean) / self.std
        vectors = F.normalize(self.embedding(self.backbone(x)).float(), dim=1)
        return vectors if self.prototypes is None else self.prototypes(vectors)


def _compact(channels: int, arguments: CompactArguments) -> tuple[nn.Module, int]:
    try:
        backbone = Compact(channels, arguments)
    except ValueError as error:
        raise ConfigError("the network 'compact' cannot take this input", observed=error) from None
    return backbone, backbone.num_features


ARCHITECTURES: dict[str, tuple[type[Config], Callable[..., tuple[nn.Module, int]]]] = {
    "choice": (ChoiceArguments, build_choice),
    "compact": (CompactArguments, _compact),
    "timm": (TimmArguments, build_timm),
    "torchvision": (TorchvisionArguments, build_torchvision),
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
        ConfigError: unknown architecture, wrong arguments, or a network that cannot take this input.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture '{architecture}'", hint=nearest(architecture, ARCHITECTURES))
    kind, build = ARCHITECTURES[architecture]
    checked = validate(kind, arguments, where=f"the arguments of '{architecture}'")
    backbone, features = build(spec.channels, checked)
    network = EncoderNetwork(backbone, features, dim, spec)
    _try(network, architecture)
    return network


def _try(network: EncoderNetwork, architecture: str) -> None:
    """Embed one blank image: many of timm's networks say only then that an image of this size is not for them."""
    spec = network.spec
    blank = torch.zeros(1, spec.channels, spec.size, spec.size, dtype=torch.uint8)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            network.eval()(blank)
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the network '{architecture}' cannot take this input",
            observed=" ".join(str(error).split())[:200],
            hint=f"Change input.size ({spec.size}) or the network's arguments; many of timm's transformers need "
            "'options: {img_size: …}'.",
        ) from None
    network.train()
