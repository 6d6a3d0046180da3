"""The compact hybrid: one involution layer, then four convolutions, GELU; about 0.116 M parameters with its head.

Source: "Spatially Optimized Compact Deep Metric Learning Model for Similarity Search" (arXiv 2404.06593). The
paper's summaries give the order of the layers, GELU and the size; widths, pooling and the embedding layer are this
project's choice (16-32-64-128 with batch normalisation, global average pooling and a 128-d embedding is the plain
stack that meets the size).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor, nn

from hetsearch.config import Config
from hetsearch.models.involution import Involution

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}
POOLED_SIDE = 7  # of the map that an involution-only network flattens


class CompactArguments(Config):
    """The variants of the compact network; the defaults are the hybrid."""

    involutions: Annotated[int, Field(ge=0, le=4)] = 1  # layers in front of the convolutions
    widths: tuple[Annotated[int, Field(ge=4, le=1024)], ...] = (16, 32, 64, 128)  # () is involution only
    kernel_size: Annotated[int, Field(ge=1, le=11)] = 3  # of the involutions, odd
    groups: Annotated[int, Field(ge=1, le=3)] = 1
    reduction: Annotated[int, Field(ge=1, le=4)] = 2
    residual: bool = False  # around each involution
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # before the embedding layer
    activation: Literal["gelu", "relu"] = "gelu"

    @model_validator(mode="after")
    def _makes_a_network(self) -> CompactArguments:
        if not self.involutions and not self.widths:
            raise ValueError("a network without involutions and without convolutions has nothing to learn")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, not {self.kernel_size}")
        return self


class Compact(nn.Module):
    """``(batch, channels, S, S)`` float → features ``(batch, num_features)``."""

    def __init__(self, channels: int, arguments: CompactArguments) -> None:
        super().__init__()
        activation = ACTIVATIONS[arguments.activation]
        self.involutions = nn.ModuleList(
            _InvolutionBlock(channels, arguments, pool=not arguments.widths)
            for _ in range(arguments.involutions)
        )
        widths = (channels, *arguments.widths)
        last = len(arguments.widths) - 1
        self.convolutions = nn.ModuleList(
            _ConvolutionBlock(inside, outside, activation, pool=index < last)
            for index, (inside, outside) in enumerate(zip(widths, arguments.widths, strict=False))
        )
        side = 1 if arguments.widths else POOLED_SIDE
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten(), nn.Dropout(arguments.dropout))
        self.num_features = widths[-1] * side * side

    def forward(self, x: Tensor) -> Tensor:
        """Features before the embedding layer."""
        for block in (*self.involutions, *self.convolutions):
            x = block(x)
        features: Tensor = self.pool(x)
        return features


class _InvolutionBlock(nn.Module):
    def __init__(self, channels: int, arguments: CompactArguments, *, pool: bool) -> None:
        super().__init__()
        activation = ACTIVATIONS[arguments.activation]
        self.involution = Involution(
            channels,
            kernel_size=arguments.kernel_size,
            groups=arguments.groups,
            reduction=arguments.reduction,
            activation=activation,
        )
        self.after = nn.Sequential(nn.BatchNorm2d(channels), activation())
        self.residual = arguments.residual
        # An involution-only network has to shrink its map itself.
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.after(self.involution(x))
        pooled: Tensor = self.pool(x + y if self.residual else y)
        return pooled


class _ConvolutionBlock(nn.Sequential):
    def __init__(self, inside: int, outside: int, activation: Callable[[], nn.Module], *, pool: bool) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inside, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            activation(),
        ]
        if pool:
            # Rounding up keeps 4 × 4 rather than 3 × 3 places for the last layer at 28 pixels.
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        super().__init__(*layers)
