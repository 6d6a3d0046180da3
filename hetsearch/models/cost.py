"""What a network costs: parameters, and multiply-accumulates of one image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hetsearch.models.involution import Involution
from hetsearch.models.network import EncoderNetwork
from hetsearch.models.prototypes import PrototypeAttention


def count_params(network: nn.Module) -> int:
    """Parameters, frozen ones too (not the running statistics of batch normalisation)."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_macs(network: EncoderNetwork) -> int:
    """Multiply-accumulates of one image: convolutions, linear layers, and involution's ``K² · C · H · W``."""
    spec = network.spec
    blank = torch.zeros(
        1, spec.channels, spec.size, spec.size, dtype=torch.uint8, device=network.embedding.weight.device
    )
    return macs_and_output(network, blank)[0]


@torch.no_grad()
def macs_and_output(module: nn.Module, example: Tensor) -> tuple[int, Tensor]:
    """Multiply-accumulates of a module, as :func:`count_macs` counts them, and what it gives.

    Args:
        module: any part of a network.
        example: a batch of one that it takes.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output[0].numel() * module.weight[0].numel()
        elif isinstance(module, nn.Linear):
            total += output[0].numel() * module.in_features
        elif isinstance(module, Involution):
            total += module.applied_macs(output.shape[2], output.shape[3])
        elif isinstance(module, PrototypeAttention):
            total += module.macs

    counted = (nn.Conv2d, nn.Linear, Involution, PrototypeAttention)
    hooks = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, counted)]
    was_training = module.training
    try:
        output: Tensor = module.eval()(example)
    finally:
        for hook in hooks:
            hook.remove()
        module.train(was_training)
    return total, output
