"""Augmentation of whole batches on the device: mirror, shift, erase."""

from __future__ import annotations

import torch
from torch import Tensor

from hetsearch.training.recipe import AugmentationConfig


def augment(
    pixels: Tensor, config: AugmentationConfig, *, background: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Change each image of a batch by chance.

    Args:
        pixels: ``uint8 (batch, channels, size, size)``.
        config: what may be done.
        background: grey level of what a shift uncovers.
        generator: a CPU generator; the same state gives the same batch on every device.

    Returns:
        The new pixels, and which images were mirrored, bool ``(batch,)``: the gallery encoder's embedding of a
        mirrored image is another one.
    """
    mirrored = torch.rand(len(pixels), generator=generator) < config.flip
    pixels = torch.where(mirrored.to(pixels.device).view(-1, 1, 1, 1), pixels.flip(3), pixels)
    if config.shift:
        pixels = _shift(pixels, config.shift, background, generator)
    if config.erase:
        pixels = _erase(pixels, config.erase, generator)
    return pixels, mirrored


def _shift(pixels: Tensor, most: int, background: int, generator: torch.Generator) -> Tensor:
    batch, _, height, width = pixels.shape
    padded = torch.nn.functional.pad(pixels, (most,) * 4, value=background)
    top, left = torch.randint(0, 2 * most + 1, (2, batch, 1), generator=generator).to(pixels.device)
    rows = (torch.arange(height, device=pixels.device) + top)[:, None, :, None]
    columns = (torch.arange(width, device=pixels.device) + left)[:, None, None, :]
    images = torch.arange(batch, device=pixels.device)[:, None, None, None]
    channels = torch.arange(pixels.shape[1], device=pixels.device)[None, :, None, None]
    return padded[images, channels, rows, columns]


def _erase(pixels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """"Random Erasing Data Augmentation" (Zhong et al., 2020), with squares of uniform noise."""
    batch, _, height, width = pixels.shape
    chosen = torch.rand(batch, generator=generator) < share
    side = 1 + (torch.rand(batch, generator=generator) * (min(height, width) // 2)).long()
    top = (torch.rand(batch, generator=generator) * (height - side + 1)).long()
    left = (torch.rand(batch, generator=generator) * (width - side + 1)).long()
    rows, columns = torch.arange(height)[None], torch.arange(width)[None]
    inside_rows = (rows >= top[:, None]) & (rows < (top + side)[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < (left + side)[:, None])
    inside = chosen[:, None, None] & inside_rows[:, :, None] & inside_columns[:, None, :]
    noise = torch.randint(0, 256, pixels.shape, generator=generator, dtype=torch.uint8)
    return torch.where(inside[:, None].to(pixels.device), noise.to(pixels.device), pixels)
