"""What the tests of several objectives share: random unit rows, a training on one batch, images without a target."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

DIM = 8
UNKNOWN, KNOWN = [1, 4], [0, 2, 3, 5]  # rows of a batch of six


def random_units(count: int, seed: int) -> torch.Tensor:
    """``(count, DIM)`` unit rows."""
    return F.normalize(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)), dim=1)


def learn(
    loss_of: Callable[[torch.Tensor], torch.Tensor], raw: torch.Tensor, optimizer: torch.optim.Optimizer
) -> list[float]:
    """A hundred steps on the unit rows of ``raw``: the loss at each."""
    values = []
    for _ in range(100):
        loss = loss_of(F.normalize(raw, dim=1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values


def with_unknown() -> tuple[torch.Tensor, torch.Tensor]:
    """Six embeddings that want a gradient, and their targets, those of ``UNKNOWN`` being rows of zeros."""
    embeddings, targets = random_units(6, 0).requires_grad_(), random_units(6, 1)
    targets[UNKNOWN] = 0
    return embeddings, targets


def check_that_only_the_known_are_pulled(loss: torch.Tensor, embeddings: torch.Tensor) -> None:
    """Every known image has a gradient and no unknown one has."""
    loss.backward()
    assert embeddings.grad is not None
    assert embeddings.grad[UNKNOWN].eq(0).all()
    assert embeddings.grad[KNOWN].ne(0).any(dim=1).all()
