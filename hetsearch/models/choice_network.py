"""The network of one architecture of a search space: ``architecture: choice`` in a configuration."""

from __future__ import annotations

from torch import Tensor, nn

from hetsearch.config import Config
from hetsearch.models.choice_blocks import CHOICES, Style
from hetsearch.models.compact import ACTIVATIONS
from hetsearch.models.search_space import SearchSpace, parse, positions_of


class ChoiceArguments(Config):
    """An architecture, and the search space that its string belongs to."""

    arch: str  # "i3-c3-skip-…"
    search_space: SearchSpace = SearchSpace()


class ChoiceNetwork(nn.Module):
    """``(batch, channels, S, S)`` float → features ``(batch, num_features)``."""

    def __init__(self, channels: int, arguments: ChoiceArguments) -> None:
        super().__init__()
        space = arguments.search_space
        style = style_of(space)
        positions = positions_of(space, channels)
        architecture = parse(arguments.arch, positions)
        self.stem = make_stem(space, channels, style)
        self.blocks = nn.ModuleList(
            CHOICES[gene.choice].build(position.shape(gene), style)
            for gene, position in zip(architecture, positions, strict=True)
        )
        self.head = make_head(space, positions[-1].outside, style)
        self.num_features = space.head or positions[-1].outside

    def forward(self, x: Tensor) -> Tensor:
        """Features before the embedding layer."""
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.head(x)
        return features


def style_of(space: SearchSpace) -> Style:
    """What the blocks of a stand-alone network are made with."""
    return Style(ACTIVATIONS[space.activation])


def make_stem(space: SearchSpace, channels: int, style: Style) -> nn.Module:
    """What stands in front of the blocks."""
    if space.stem is None:
        return nn.Identity()
    convolution = nn.Conv2d(channels, space.stem.width, 3, space.stem.stride, 1, bias=False)
    return nn.Sequential(convolution, style.norm(space.stem.width), style.activation())


def make_head(space: SearchSpace, inside: int, style: Style) -> nn.Module:
    """What stands behind the blocks: ``(batch, inside, H, W)`` → ``(batch, features)``."""
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(space.dropout)]
    if space.head is None:
        return nn.Sequential(*pool)
    widen = [nn.Conv2d(inside, space.head, 1, bias=False), style.norm(space.head), style.activation()]
    return nn.Sequential(*widen, *pool)


def build_choice(channels: int, arguments: ChoiceArguments) -> tuple[nn.Module, int]:
    """The backbone, and how many features it gives."""
    backbone = ChoiceNetwork(channels, arguments)
    return backbone, backbone.num_features
