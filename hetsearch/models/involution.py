"""Involution: a kernel made for every pixel, shared by the channels of a group.

Source: "Involution: Inverting the Inherence of Convolution for Visual Recognition" (Li et al., CVPR 2021,
arXiv 2103.06255), equations 4 to 6; written from the equations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def involve(x: Tensor, kernels: Tensor, *, kernel_size: int, groups: int, stride: int = 1) -> Tensor:
    """Apply one kernel a pixel and group: ``Y[k, i, j] = Σ_uv H[⌈kG/C⌉, u, v, i, j] · X[k, i + u, j + v]``.

    The sum runs over shifted views of the padded input, so no ``K²`` times larger unfolded tensor is made, and it
    exports to plain multiplications: 1.1 to 6 times faster than unfolding in ONNX Runtime, and 1.7 to 5 times in
    training, where its gradient is made by hand (``results/involution.md``, made by ``scripts/bench_involution.py``).

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
    padded = _grouped(_padded(x, kernel_size), groups)
    weights = _grouped(kernels, groups)
    total: Tensor | None = None
    for index, (rows, columns) in enumerate(_seen(kernel_size, height, width, stride)):
        term = weights[:, :, index : index + 1] * padded[..., rows, columns]
        total = term if total is None else total + term
    assert total is not None  # a kernel has at least one cell
    return total.reshape(batch, channels, height, width)


class _InTraining(torch.autograd.Function):
    """:func:`involve` with its gradient by hand: autograd makes a tensor of zeros for each of the ``K²`` views.

    With ``∂Y`` the gradient of the output, ``∂X[k, i + u, j + v] += H[u, v, i, j] · ∂Y[k, i, j]`` and
    ``∂H[u, v, i, j] = Σ_k ∂Y[k, i, j] · X[k, i + u, j + v]``, ``k`` in the group of the kernel.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor, kernel_size: int, groups: int, stride: int) -> Tensor:
        ctx.save_for_backward(x, kernels)
        ctx.layer = kernel_size, groups, stride
        return involve(x, kernels, kernel_size=kernel_size, groups=groups, stride=stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, kernels = ctx.saved_tensors
        kernel_size, groups, stride = ctx.layer
        padded, of_kernels = _padded(x, kernel_size), torch.empty_like(kernels)
        of_padded = torch.zeros_like(padded) if ctx.needs_input_grad[0] else None  # an image has no gradient
        seen, weights, to_weights = (_grouped(one, groups) for one in (padded, kernels, of_kernels))
        output = _grouped(gradients[0], groups)
        for index, (rows, columns) in enumerate(_seen(kernel_size, output.shape[3], output.shape[4], stride)):
            to_weights[:, :, index] = (output * seen[..., rows, columns]).sum(dim=2)
            if of_padded is not None:
                to_seen = _grouped(of_padded, groups)[..., rows, columns]
                to_seen.addcmul_(weights[:, :, index : index + 1], output)
        inner = slice(kernel_size // 2, -(kernel_size // 2) or None)
        return None if of_padded is None else of_padded[..., inner, inner], of_kernels, None, None, None


def _padded(x: Tensor, kernel_size: int) -> Tensor:
    return F.pad(x, (kernel_size // 2,) * 4)


def _grouped(x: Tensor, groups: int) -> Tensor:
    """A view ``(batch, groups, channels / groups, height, width)``."""
    return x.view(x.shape[0], groups, -1, *x.shape[2:])


def _seen(kernel_size: int, height: int, width: int, stride: int) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of the padded input that each cell of the kernels sees."""
    for index in range(kernel_size * kernel_size):
        u, v = divmod(index, kernel_size)
        yield slice(u, u + stride * (height - 1) + 1, stride), slice(v, v + stride * (width - 1) + 1, stride)


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
        if self.training:
            trained: Tensor = _InTraining.apply(x, kernels, self.kernel_size, self.groups, self.stride)
            return trained
        return involve(x, kernels, kernel_size=self.kernel_size, groups=self.groups, stride=self.stride)

    def applied_macs(self, out_height: int, out_width: int) -> int:
        """Multiplications of applying the kernels, ``K² · C · H · W``, which flop counters miss."""
        return self.kernel_size**2 * self.channels * out_height * out_width
