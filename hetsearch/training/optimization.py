"""Optimiser and schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from hetsearch.training.recipe import OptimizerConfig, ScheduleConfig


def make_optimizer(task: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """SGD or AdamW; weight decay on matrices and kernels only, as is usual since "Bag of Tricks" (He et al., 2019)."""
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.name == "sgd":
        nesterov = config.momentum > 0
        # Not fused, which needs the momentum of all parameters or of none: a path of a supernet has a part of them.
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=nesterov, foreach=True)
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def learning_rate(step: int, steps: int, peak: float, config: ScheduleConfig) -> float:
    """Linear warm-up to ``peak``, then half a cosine to 0 at ``steps``; a pure function, so there is no state."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
