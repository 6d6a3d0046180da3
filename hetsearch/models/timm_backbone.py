"""Any timm network as an encoder's backbone, with a stem for small images where the network is a ResNetV2."""

from __future__ import annotations

from typing import Any, Literal

import timm
from pydantic import Field
from timm.models.resnetv2 import ResNetV2
from torch import nn

from hetsearch.config import Config
from hetsearch.errors import ConfigError, nearest

Stem = Literal["imagenet", "small", "tiny"]


class TimmArguments(Config):
    """Which timm network, and how it begins.

    ``imagenet`` keeps timm's own stem. The other two replace the stem of a ResNetV2, because a total stride of 32
    leaves a 28-pixel image a single place: ``small`` is a 3 × 3 convolution and a 2 × 2 pool (total stride 16),
    ``tiny`` the convolution alone (total stride 8, 3.6 times the MACs). timm's own ``deep`` and ``tiered`` stems
    are for larger images; they are set through ``options: {stem_type: deep}``.
    """

    name: str = "resnetv2_50"
    stem: Stem = "imagenet"
    pretrained: bool = False  # fetches weights over the network
    options: dict[str, Any] = Field(default_factory=dict)  # further arguments of timm.create_model


def build_timm(channels: int, arguments: TimmArguments) -> tuple[nn.Module, int]:
    """Make the backbone and say how many features it gives.

    Raises:
        ConfigError: timm has no such network, or the stem does not fit it.
    """
    if not timm.is_model(arguments.name.split(".")[0]):
        hint = nearest(arguments.name, timm.list_models(f"{arguments.name[:4]}*") or timm.list_models("resnet*"))
        raise ConfigError(f"timm has no network '{arguments.name}'", hint=hint)
    try:
        backbone = timm.create_model(
            arguments.name,
            pretrained=arguments.pretrained,
            in_chans=channels,
            num_classes=0,
            **arguments.options,
        )
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"timm cannot make '{arguments.name}'", observed=str(error)) from None
    if arguments.stem != "imagenet":
        if not isinstance(backbone, ResNetV2):
            raise ConfigError(
                f"the stem '{arguments.stem}' is for ResNetV2 networks",
                observed=arguments.name,
                hint="Use 'stem: imagenet' with this network.",
            )
        backbone.stem = _small_stem(backbone, channels, pooled=arguments.stem == "small")
    # Some networks widen their features after pooling, in front of the classifier that is left out.
    features: Any = getattr(backbone, "head_hidden_size", None) or backbone.num_features
    return backbone, int(features)


def _small_stem(backbone: ResNetV2, channels: int, *, pooled: bool) -> nn.Sequential:
    width = next(m for m in backbone.stem.modules() if isinstance(m, nn.Conv2d)).out_channels
    convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    stem = nn.Sequential(convolution)
    if pooled:
        stem.append(nn.MaxPool2d(2))
    return stem
