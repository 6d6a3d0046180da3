"""The blocks that an architecture search chooses from; each knows its name, its code in a string, and where it fits.

Sources: shuffle units from "ShuffleNet V2" (Ma et al., ECCV 2018) in the four forms of "Single Path One-Shot Neural
Architecture Search with Uniform Sampling" (Guo et al., ECCV 2020, arXiv 1904.00420); involution from arXiv 2103.06255
and, in front of plain convolutions, from arXiv 2404.06593. The unit whose depthwise convolution is an involution is
this project's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hetsearch.models.involution import Involution


@dataclass(frozen=True)
class BlockShape:
    """What goes in and out of a block.

    Attributes:
        inside: channels in.
        outside: channels out.
        middle: channels between, of blocks that are elastic.
        stride: 1 or 2; 2 halves the map, rounding up.
    """

    inside: int
    outside: int
    middle: int
    stride: int

    @property
    def keeps(self) -> bool:
        """Whether the output has the form of the input."""
        return self.inside == self.outside and self.stride == 1


@dataclass(frozen=True)
class Style:
    """What all blocks of a network are made with."""

    activation: Callable[[], nn.Module]
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d


class ShuffleUnit(nn.Module):
    """Two branches, side by side in the output.

    Where the output has the form of the input, the even channels pass and the odd ones go through the main branch;
    else both branches see every channel.
    """

    def __init__(self, main: nn.Module, project: nn.Module | None) -> None:
        super().__init__()
        self.main, self.project = main, project

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, inside, H, W)`` → ``(batch, outside, H', W')``."""
        if self.project is None:
            x = _dense_gradient(x)
            passing, x = x.reshape(x.shape[0], x.shape[1] // 2, 2, *x.shape[2:]).unbind(2)
        else:
            passing = _dense_gradient(self.project(x))
        return torch.cat((passing, _dense_gradient(self.main(x))), dim=1)


def _dense_gradient(x: Tensor) -> Tensor:
    """``x``, whose gradient will lie in memory as the maps of a training do, channels last.

    Backward, a concatenation leaves views with gaps and a split leaves channels first; every normalisation and
    activation before them then takes up to three times as long on a CPU, a step of a supernet 1.4 times.
    """
    if x.requires_grad:
        x.register_hook(_channels_last)  # type: ignore[no-untyped-call]
    return x


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)


def _pointwise(inside: int, outside: int, style: Style) -> list[nn.Module]:
    return [nn.Conv2d(inside, outside, 1, bias=False), style.norm(outside), style.activation()]


def _depthwise(channels: int, kernel: int, stride: int, style: Style) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    return [convolution, style.norm(channels)]


def _projection(shape: BlockShape, kernel: int, style: Style) -> nn.Module | None:
    if shape.keeps:
        return None
    spatial = _depthwise(shape.inside, kernel, shape.stride, style)
    return nn.Sequential(*spatial, *_pointwise(shape.inside, shape.inside, style))


def _entering(shape: BlockShape) -> int:
    return shape.inside // 2 if shape.keeps else shape.inside


def _shuffle(kernel: int) -> Callable[[BlockShape, Style], nn.Module]:
    def build(shape: BlockShape, style: Style) -> nn.Module:
        entering = _entering(shape)
        main = nn.Sequential(
            *_pointwise(entering, shape.middle, style),
            *_depthwise(shape.middle, kernel, shape.stride, style),
            *_pointwise(shape.middle, shape.outside - entering, style),
        )
        return ShuffleUnit(main, _projection(shape, kernel, style))

    return build


def _xception(shape: BlockShape, style: Style) -> nn.Module:
    entering = _entering(shape)
    main = nn.Sequential(
        *_depthwise(entering, 3, shape.stride, style),
        *_pointwise(entering, shape.middle, style),
        *_depthwise(shape.middle, 3, 1, style),
        *_pointwise(shape.middle, shape.middle, style),
        *_depthwise(shape.middle, 3, 1, style),
        *_pointwise(shape.middle, shape.outside - entering, style),
    )
    return ShuffleUnit(main, _projection(shape, 3, style))


def _shuffle_involution(shape: BlockShape, style: Style) -> nn.Module:
    entering = _entering(shape)
    main = nn.Sequential(
        *_pointwise(entering, shape.middle, style),
        _involve(shape.middle, shape.stride, style, reduction=4),
        style.norm(shape.middle),
        *_pointwise(shape.middle, shape.outside - entering, style),
    )
    return ShuffleUnit(main, _projection(shape, 3, style))


def _involution(shape: BlockShape, style: Style) -> nn.Module:
    layers = [_involve(shape.inside, shape.stride, style, reduction=2), style.norm(shape.inside), style.activation()]
    if shape.inside != shape.outside:  # an involution cannot change the number of channels
        layers += _pointwise(shape.inside, shape.outside, style)
    return nn.Sequential(*layers)


def _involve(channels: int, stride: int, style: Style, *, reduction: int) -> Involution:
    # One group: a kernel for all channels can be kept when channels are left out.
    return Involution(
        channels, kernel_size=3, reduction=reduction, stride=stride, activation=style.activation, norm=style.norm
    )


def _convolution(shape: BlockShape, style: Style) -> nn.Module:
    # Pooled first, as in the compact hybrid, whose blocks end with the pooling.
    pool = [nn.MaxPool2d(2, ceil_mode=True)] if shape.stride == 2 else []
    convolution = nn.Conv2d(shape.inside, shape.outside, 3, padding=1, bias=False)
    return nn.Sequential(*pool, convolution, style.norm(shape.outside), style.activation())


def _skip(shape: BlockShape, style: Style) -> nn.Module:
    return nn.Identity()


def _anywhere(shape: BlockShape) -> bool:
    return True


def _keeps(shape: BlockShape) -> bool:
    return shape.keeps


def _splits_or_grows(shape: BlockShape) -> bool:
    return shape.inside % 2 == 0 if shape.keeps else shape.outside > shape.inside


@dataclass(frozen=True)
class Choice:
    """One kind of block.

    Attributes:
        code: what it is called in the string of an architecture.
        build: makes it.
        elastic: whether its ``middle`` channels can be more or fewer.
        fits: whether it can stand where this goes in and out.
    """

    code: str
    build: Callable[[BlockShape, Style], nn.Module]
    elastic: bool
    fits: Callable[[BlockShape], bool]


CHOICES: dict[str, Choice] = {
    "skip": Choice("skip", _skip, elastic=False, fits=_keeps),
    "conv3": Choice("c3", _convolution, elastic=False, fits=_anywhere),
    "involution3": Choice("i3", _involution, elastic=False, fits=_anywhere),
    "shuffle3": Choice("s3", _shuffle(3), elastic=True, fits=_splits_or_grows),
    "shuffle5": Choice("s5", _shuffle(5), elastic=True, fits=_splits_or_grows),
    "shuffle7": Choice("s7", _shuffle(7), elastic=True, fits=_splits_or_grows),
    "xception": Choice("x3", _xception, elastic=True, fits=_splits_or_grows),
    "shuffle_involution3": Choice("v3", _shuffle_involution, elastic=True, fits=_splits_or_grows),
}
