from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hetsearch.config import validate
from hetsearch.errors import ConfigError
from hetsearch.models.choice_blocks import CHOICES, BlockShape, ShuffleUnit, Style
from hetsearch.models.cost import count_macs, count_params
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.search_space import FULL, Gene, SearchSpace, Stage, Stem, parse, positions_of, spell
from hetsearch.preprocess import InputSpec

HYBRID = "i3-c3-skip-c3-skip-c3-skip-skip-c3-skip"
CODES = ("s3", "s5", "s7", "x3")  # SPOS numbers its choices so
IMAGENET = SearchSpace(
    stem=Stem(width=16, stride=2),
    stages=tuple(
        Stage(width=width, repeats=repeats, stride=2)
        for width, repeats in ((64, 4), (160, 4), (320, 8), (640, 4))
    ),
    choices=("shuffle3", "shuffle5", "shuffle7", "xception"),
    widths=(20, 40, 60, 80, 100, 120, 140, 160),
    head=1024,
    activation="relu",
    dropout=0.1,
)
BLOCKS = (2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3)
SCALED = (0, 0, 3, 1, 1, 1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 0, 2, 1, 3, 2)
SCALES = (6, 5, 3, 5, 2, 6, 3, 4, 2, 5, 7, 5, 4, 6, 7, 4, 4, 5, 4, 3)


def spec_of(size: int, channels: int) -> InputSpec:
    return InputSpec(size=size, channels=channels, mean=(0.5,) * channels, std=(0.5,) * channels)


def weights_of(network: EncoderNetwork) -> int:
    """Weights of convolutions and linear layers: what the published figures count."""
    return sum(m.weight.numel() for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


@pytest.mark.parametrize(
    ("arch", "macs", "params"),
    [
        ("-".join(CODES[block] for block in BLOCKS), 323e6, 3.5e6),
        (
            "-".join(f"{CODES[block]}w{20 * (scale + 1)}" for block, scale in zip(SCALED, SCALES, strict=True)),
            328e6,
            3.4e6,
        ),
    ],
)
def test_the_published_single_path_networks_cost_what_was_published(arch: str, macs: float, params: float) -> None:
    arguments = {"arch": arch, "search_space": IMAGENET.model_dump()}
    network = build_network("choice", arguments, dim=1000, spec=spec_of(224, 3))
    assert count_macs(network) == pytest.approx(macs, rel=0.01)
    assert weights_of(network) == pytest.approx(params, rel=0.01)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (64, 3)])
def test_the_compact_hybrid_lies_in_the_default_space(size: int, channels: int) -> None:
    spec = spec_of(size, channels)
    compact = build_network("compact", {}, dim=128, spec=spec).eval()
    choice = build_network("choice", {"arch": HYBRID}, dim=128, spec=spec).eval()
    assert count_macs(choice) == count_macs(compact)
    assert count_params(choice) == count_params(compact)
    # With the same weights it is the same function.
    values = list(compact.state_dict().values())
    choice.load_state_dict(dict(zip(choice.state_dict(), values, strict=True)))
    pixels = torch.randint(0, 256, (2, channels, size, size), dtype=torch.uint8)
    torch.testing.assert_close(choice(pixels), compact(pixels))


@pytest.mark.parametrize("name", sorted(CHOICES))
@pytest.mark.parametrize(("inside", "outside", "stride"), [(8, 8, 1), (8, 12, 1), (8, 12, 2), (1, 6, 2), (8, 8, 2)])
def test_a_block_gives_the_map_that_its_place_asks_for(name: str, inside: int, outside: int, stride: int) -> None:
    shape = BlockShape(inside, outside, 5, stride)
    choice = CHOICES[name]
    if not choice.fits(shape):
        assert name == "skip" or outside <= inside
        return
    block = choice.build(shape, Style(nn.GELU))
    assert block(torch.zeros(2, inside, 7, 7)).shape == (2, outside, -(-7 // stride), -(-7 // stride))


def test_a_shuffle_unit_passes_the_even_channels() -> None:
    class Negative(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return -x

    x = torch.randn(2, 6, 3, 3)
    expected = torch.cat([x[:, 0::2], -x[:, 1::2]], dim=1)
    torch.testing.assert_close(ShuffleUnit(Negative(), None)(x), expected)


def test_gradients_lie_in_memory_as_the_maps_of_a_training_do() -> None:
    shapes = BlockShape(8, 8, 6, 1), BlockShape(8, 16, 6, 2), BlockShape(16, 16, 6, 1)
    units = [CHOICES["shuffle3"].build(shape, Style(nn.GELU)) for shape in shapes]
    network = nn.Sequential(nn.Conv2d(3, 8, 1), *units).to(memory_format=torch.channels_last)
    dense: list[bool] = []

    def look(module: nn.Module, inwards: object, outwards: tuple[Tensor, ...]) -> None:
        dense.append(outwards[0].is_contiguous(memory_format=torch.channels_last))

    for module in network.modules():
        if isinstance(module, (nn.GELU, nn.BatchNorm2d)):
            module.register_full_backward_hook(look)
    pixels = torch.randn(2, 3, 6, 6).to(memory_format=torch.channels_last)
    network(pixels).square().sum().backward()
    assert dense == [True] * (5 + 5 + 3 + 5)


def test_every_architecture_has_one_string() -> None:
    positions = positions_of(SearchSpace(), 1)
    random = np.random.default_rng(0)
    for _ in range(50):
        genes = tuple(position.genes[int(random.integers(len(position.genes)))] for position in positions)
        assert parse(spell(genes), positions) == genes
    assert str(Gene("shuffle3", FULL)) == "s3"
    assert str(Gene("shuffle3", 50)) == "s3w50"
    long = HYBRID.replace("c3-skip-c3", "c3-S5w100-c3", 1)
    assert spell(parse(f" {long} ", positions)) == long.replace("S5w100", "s5")


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (HYBRID.replace("i3", "s3", 1), r"gene 1 .*observed 's3', expected one of skip, i3"),
        (HYBRID.replace("skip", "s3w70", 1), r"gene 3 .*observed 's3w70', expected one of skip, c3, s3w50"),
        (HYBRID.replace("c3", "c3w100", 1), r"gene 2 .*observed 'c3w100', expected one of c3"),
        ("i3-c3", "observed 2 genes, expected 10"),
        ("", "observed 1 genes, expected 10"),
    ],
)
def test_a_wrong_gene_is_named_with_its_place(arch: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network("choice", {"arch": arch}, dim=8, spec=spec_of(28, 1))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"choices": ["shuffle4"]}, "unknown choice 'shuffle4'. Did you mean 'shuffle"),
        ({"choices": ["skip", "skip"]}, "given twice"),
        ({"widths": [50, 50]}, "given twice"),
        ({"widths": []}, "widths"),
        ({"stages": []}, "stages"),
        ({"stages": [{"width": 8, "choises": ["skip"]}]}, "Did you mean 'choices'"),
    ],
)
def test_a_wrong_space_is_refused(space: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(SearchSpace, space, where="the test")


def test_a_block_without_a_choice_is_named() -> None:
    space = SearchSpace(stages=(Stage(width=16, choices=("conv3",)), Stage(width=8)), choices=("skip", "shuffle3"))
    with pytest.raises(ConfigError, match=r"stage 2 .*16 channels in, 8 out"):
        positions_of(space, 1)
