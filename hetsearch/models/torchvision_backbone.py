"""A torchvision classifier as an encoder's backbone, for families that timm lacks (ShuffleNetV2)."""

from __future__ import annotations

from typing import Any

import torchvision.models
from pydantic import Field
from torch import nn

from hetsearch.config import Config
from hetsearch.errors import ConfigError, nearest

HEADS = ("fc", "classifier")  # what torchvision calls the layer that is left out


class TorchvisionArguments(Config):
    """Which network of torchvision.models."""

    name: str = "shufflenet_v2_x1_0"
    options: dict[str, Any] = Field(default_factory=dict)  # further arguments of torchvision.models.get_model


def build_torchvision(channels: int, arguments: TorchvisionArguments) -> tuple[nn.Module, int]:
    """Make the backbone, untrained, and say how many features it gives.

    Raises:
        ConfigError: torchvision has no such network, it is no classifier with a linear layer at its end, or it gives
            more than one output.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if arguments.name not in known:
        hint = nearest(arguments.name, known)
        raise ConfigError(f"torchvision has no network '{arguments.name}'", hint=hint)
    try:
        backbone = torchvision.models.get_model(arguments.name, weights=None, **arguments.options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"torchvision cannot make '{arguments.name}'", observed=str(error)) from None
    if getattr(backbone, "aux_logits", False):  # of GoogLeNet and Inception; in training alone, so no try would tell
        raise ConfigError(
            f"'{arguments.name}' has auxiliary outputs while it is trained",
            expected="one output",
            hint="Set encoder.arguments.options to {aux_logits: false}.",
        )
    features = _without_head(backbone, arguments.name)
    if channels != 3:
        _take_channels(backbone, channels)
    return backbone, features


def _without_head(backbone: nn.Module, name: str) -> int:
    for head in HEADS:
        found = getattr(backbone, head, None)
        if isinstance(found, nn.Sequential) and len(found) and isinstance(found[-1], nn.Linear):
            features = found[-1].in_features
            found[-1] = nn.Identity()
            return features
        if isinstance(found, nn.Linear):
            setattr(backbone, head, nn.Identity())
            return found.in_features
    raise ConfigError(f"'{name}' cannot be a backbone", expected=f"a linear layer at its end, as {' or '.join(HEADS)}")


def _take_channels(backbone: nn.Module, channels: int) -> None:
    first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
    first.in_channels = channels
    first.weight = nn.Parameter(first.weight.new_empty(first.out_channels, channels, *first.kernel_size))
    first.reset_parameters()
