"""Involution: a kernel made for every pixel, shared by the channels of a group.

Source: "Involution: Inverting the Inherence of Convolution for Visual Recognition" (Li et al., CVPR 2021,
arXiv 2103.06255), equations 4 to 6; written from the equations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn


def involve(x: Tensor, kernels: Tensor, *, kernel_size: int, groups: int, stride: int = 1) -> Tensor:
    """Apply one kernel a pixel and group: ``Y[k, i, j] = Σ_uv H[⌈kG/C⌉, u, v, i, j] · X[k, i + u, j + v]``.

    The sum runs over shifted views of the padded input, so no ``K²`` times larger unfolded tensor is made, and it
    exports to plain multiplications: 1.5 to 6 times faster than unfolding in ONNX Runtime, and faster in training but
    for a single channel (``results/involution.md``, made by ``scripts/bench_involution.py``).

    Args:
        x: ``(batch, channels, height, width)``.
        kernels: ``(batch, groups * kernel_size², out_height, out_width)``.
        kernel_size: odd side K of a kernel.
        groups: G; channel ``c`` uses the kernel of group ``c // (channels / G)``.
        stride: step of the output grid.

    Returns:
        ``(batch, channels, out_height, out_width)``.
    """
    batch, channels = x.shape[0], x.shape[1]
    height, width = kernels.shape[2], kernels.shape[3]
    half = kernel_size // 2
    sides = (x.shape[2] + 2 * half, x.shape[3] + 2 * half)
    padded = F.pad(x, (half, half, half, half)).reshape(batch, groups, channels // groups, *sides)
    weights = kernels.reshape(batch, groups, kernel_size * kernel_size, height, width)
    total: Tensor | None = None
    for index in range(kernel_size * kernel_size):
        u, v = divmod(index, kernel_size)
        rows = slice(u, u + stride * (height - 1) + 1, stride)
        columns = slice(v, v + stride * (width - 1) + 1, stride)
        term = weights[:, :, index : index + 1] * padded[..., rows, columns]
        total = term if total is None else total + term
    assert total is not None  # a kernel has at least one cell
    return total.reshape(batch, channels, height, width)


class Involution(nn.Module):
    """An involution layer: it keeps the number of channels and mixes them only through the kernels it makes.

    Args:
        channels: C, in and out.
        kernel_size: odd K.
        groups: G, a divisor of C; each group of channels shares a kernel.
        reduction: r; the kernel is made through ``max(1, C // r)`` channels.
        stride: step of the output grid; the kernels are then made from the average of each step's pixels.
        activation: made between the two 1 × 1 convolutions that make the kernels.
        norm: made before it, for so many channels.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 3,
        groups: int = 1,
        reduction: int = 2,
        stride: int = 1,
        activation: Callable[[], nn.Module] = nn.GELU,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        if kernel_size % 2 != 1 or kernel_size < 1:
            raise ValueError(f"kernel_size must be odd, not {kernel_size}")
        if channels % groups:
            raise ValueError(f"groups ({groups}) must divide channels ({channels})")
        self.channels, self.kernel_size, self.groups, self.stride = channels, kernel_size, groups, stride
        hidden = max(1, channels // reduction)
        self.pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False), norm(hidden), activation()
        )
        self.span = nn.Conv2d(hidden, groups * kernel_size * kernel_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, C, H, W)`` → ``(batch, C, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        kernels = self.span(self.reduce(self.pool(x)))
        # The gradients of many views of one channel cost more than one unfolded tensor.
        apply = involve_by_unfolding if self.training and self.channels == 1 else involve
        return apply(x, kernels, kernel_size=self.kernel_size, groups=self.groups, stride=self.stride)

    def applied_macs(self, out_height: int, out_width: int) -> int:
        """Multiplications of applying the kernels, ``K² · C · H · W``, which flop counters miss."""
        return self.kernel_size**2 * self.channels * out_height * out_width


def involve_by_unfolding(x: Tensor, kernels: Tensor, *, kernel_size: int, groups: int, stride: int = 1) -> Tensor:
    """The same as :func:`involve`, through ``unfold``: the usual way, and faster in training on a single channel."""
    batch, channels = x.shape[0], x.shape[1]
    height, width = kernels.shape[2], kernels.shape[3]
    patches = F.unfold(x, kernel_size, padding=kernel_size // 2, stride=stride)
    patches = patches.view(batch, groups, channels // groups, kernel_size * kernel_size, height, width)
    weights = kernels.view(batch, groups, 1, kernel_size * kernel_size, height, width)
    return (patches * weights).sum(dim=3).view(batch, channels, height, width)

