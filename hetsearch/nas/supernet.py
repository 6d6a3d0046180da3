"""The one-shot network: every choice of every block, of which one path runs; and the networks cut out of it.

A block of a narrower width uses the first channels of the widest one's weights, as in the release of "Single Path
One-Shot Neural Architecture Search" (arXiv 1904.00420). Batch normalisation has no affine part and keeps no statistics
here: those of one path are worthless for another, so a network that is cut out estimates its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hetsearch.models.choice_blocks import CHOICES, Style
from hetsearch.models.choice_network import ChoiceNetwork, make_head, make_stem
from hetsearch.models.compact import ACTIVATIONS
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.search_space import Gene, SearchSpace, parse, positions_of
from hetsearch.preprocess import InputSpec


class Supernet(nn.Module):
    """``(batch, channels, S, S)`` float → features ``(batch, num_features)``, along the chosen path.

    Args:
        space: the search space.
        channels: of the images.
    """

    def __init__(self, space: SearchSpace, channels: int) -> None:
        super().__init__()
        self.space, self.positions = space, positions_of(space, channels)
        style = Style(ACTIVATIONS[space.activation], norm=_bare_norm)
        self.stem = make_stem(space, channels, style)
        # One module a choice, as wide as its widest gene.
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    gene.choice: CHOICES[gene.choice].build(position.shape(gene), style)
                    for gene in position.genes
                    if gene.width in (None, space.widths[-1])
                }
            )
            for position in self.positions
        )
        self.head = make_head(space, self.positions[-1].outside, style)
        self.num_features = space.head or self.positions[-1].outside
        # The narrower blocks have a form but no weights of their own; in a plain dictionary they are no sub-modules.
        with torch.device("meta"):
            kinds = [(gene.choice, position.shape(gene)) for position in self.positions for gene in position.genes]
            self._forms = {kind: CHOICES[kind[0]].build(kind[1], style) for kind in dict.fromkeys(kinds)}
        self.path: tuple[Gene, ...] = tuple(position.genes[0] for position in self.positions)

    def choose(self, architecture: str) -> None:
        """The path that runs from now on.

        Raises:
            ConfigError: it is not in the search space.
        """
        self.path = parse(architecture, self.positions)

    def forward(self, x: Tensor) -> Tensor:
        """Features before the embedding layer."""
        x = self.stem(x)
        for index, gene in enumerate(self.path):
            x = functional_call(self._form(index, gene), self.weights(index, gene), (x,))
        features: Tensor = self.head(x)
        return features

    def weights(self, index: int, gene: Gene) -> dict[str, Tensor]:
        """The parameters that a gene uses at a position: the first of the widest block's along every axis."""
        shared = dict(self.blocks[index][gene.choice].named_parameters())  # type: ignore[index]
        wanted = self._form(index, gene).named_parameters()
        return {name: shared[name][tuple(map(slice, one.shape))] for name, one in wanted}

    def _form(self, index: int, gene: Gene) -> nn.Module:
        return self._forms[gene.choice, self.positions[index].shape(gene)]

    def train(self, mode: bool = True) -> Supernet:
        """As every module; the forms do not forget it."""
        super().train(mode)
        for form in self._forms.values():
            form.train(mode)
        return self


def build_supernet(space: SearchSpace, *, dim: int, spec: InputSpec) -> EncoderNetwork:
    """An untrained supernet as an encoder's network."""
    backbone = Supernet(space, spec.channels)
    return EncoderNetwork(backbone, backbone.num_features, dim, spec)


def supernet_of(network: EncoderNetwork) -> Supernet:
    """The supernet in an encoder's network."""
    assert isinstance(network.backbone, Supernet)
    return network.backbone


def cut_out(network: EncoderNetwork, architecture: str) -> EncoderNetwork:
    """The network of one architecture with the supernet's weights; its normalisations know no statistics yet.

    Raises:
        ConfigError: the architecture is not in the search space.
    """
    supernet = supernet_of(network)
    arguments = {"arch": architecture, "search_space": supernet.space.model_dump()}
    alone = build_network("choice", arguments, dim=network.dim, spec=network.spec)
    backbone = alone.backbone
    assert isinstance(backbone, ChoiceNetwork)
    pairs: list[tuple[nn.Module, dict[str, Tensor]]] = [
        (backbone.stem, dict(supernet.stem.named_parameters())),
        (backbone.head, dict(supernet.head.named_parameters())),
        (alone.embedding, dict(network.embedding.named_parameters())),
    ]
    for index, gene in enumerate(parse(architecture, supernet.positions)):
        pairs.append((backbone.blocks[index], supernet.weights(index, gene)))
    with torch.no_grad():
        for module, weights in pairs:
            own = dict(module.named_parameters())
            for name, value in weights.items():
                own[name].copy_(value)
    return alone.to(network.embedding.weight.device)


@torch.no_grad()
def calibrate(network: EncoderNetwork, pixels: Tensor, *, batch_size: int) -> None:
    """Estimate the statistics of batch normalisation: the mean over batches of training images.

    Args:
        network: cut out of a supernet; left in evaluation mode.
        pixels: ``uint8 (n, channels, size, size)``, in the order in which they are taken; every image counts as much.
        batch_size: images at once; a smaller rest is left out.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean
    network.train()
    device = network.embedding.weight.device
    for start in range(0, len(pixels) - batch_size + 1, batch_size):
        network(pixels[start : start + batch_size].to(device))
    network.eval()


def _bare_norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False, track_running_stats=False)
