import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hetsearch.errors import ConfigError
from hetsearch.models.compact import Compact, CompactArguments
from hetsearch.models.cost import count_macs, count_params
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.preprocess import InputSpec


def spec_of(size: int = 28, channels: int = 1) -> InputSpec:
    return InputSpec(size=size, channels=channels, mean=(0.3,) * channels, std=(0.4,) * channels)


def pixels_for(spec: InputSpec, count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, spec.channels, spec.size, spec.size)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [28, 32, 64])
def test_the_hybrid_has_the_papers_size_and_gives_unit_rows(channels: int, size: int) -> None:
    spec = spec_of(size, channels)
    network = build_network("compact", {}, dim=128, spec=spec)
    head = 10 * 128
    running_statistics = 2 * (16 + 32 + 64 + 128)
    # "about 0.116 M parameters", as Keras counts them, with a ten-way head.
    assert count_params(network) + head + running_statistics == pytest.approx(116_000, rel=0.005)
    vectors = network(pixels_for(spec))
    assert vectors.shape == (3, 128)
    np.testing.assert_allclose(vectors.detach().norm(dim=1), 1, atol=1e-6)


def test_normalising_is_part_of_the_network() -> None:
    spec = spec_of()
    network = build_network("compact", {}, dim=8, spec=spec).eval()
    pixels = pixels_for(spec)
    by_hand = network.embedding(network.backbone((pixels.float() / 255 - 0.3) / 0.4))
    assert torch.allclose(network(pixels), F.normalize(by_hand, dim=1), atol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"involutions": 0},
        {"involutions": 2, "residual": True},
        {"involutions": 4, "widths": []},
        {"involutions": 1, "kernel_size": 7},
        {"activation": "relu", "dropout": 0.2},
        {"widths": [8, 16]},
    ],
)
def test_every_variant_trains_one_step(arguments: dict[str, object]) -> None:
    torch.manual_seed(0)
    spec = spec_of()
    network = build_network("compact", arguments, dim=16, spec=spec)
    network(pixels_for(spec, 4))[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    layers = CompactArguments.model_validate(arguments)
    assert isinstance(network.backbone, Compact)
    assert len(network.backbone.involutions) == layers.involutions
    assert len(network.backbone.convolutions) == len(layers.widths)


def test_residual_adds_the_input() -> None:
    network = build_network("compact", {"residual": True}, dim=8, spec=spec_of()).eval()
    block = network.backbone.involutions[0]  # type: ignore[union-attr,index]
    x = torch.randn(2, 1, 28, 28)
    with_residual = block(x)
    block.residual = False
    assert torch.allclose(with_residual, x + block(x), atol=1e-6)


def test_macs_by_hand() -> None:
    network = build_network("compact", {}, dim=128, spec=spec_of())
    involution = 784 * 1 + 784 * 9 + 9 * 784  # reduce, span, apply
    convolutions = 784 * 9 * 16 + 196 * 9 * 16 * 32 + 49 * 9 * 32 * 64 + 16 * 9 * 64 * 128
    assert count_macs(network) == involution + convolutions + 128 * 128


def test_counting_macs_changes_nothing() -> None:
    network = build_network("compact", {}, dim=8, spec=spec_of()).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count_macs(network)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(("stem", "macs"), [("imagenet", 78e6), ("small", 290e6), ("tiny", 1047e6)])
def test_resnet50v2_stems(stem: str, macs: float) -> None:
    network = build_network("timm", {"name": "resnetv2_50", "stem": stem}, dim=128, spec=spec_of())
    assert count_macs(network) == pytest.approx(macs, rel=0.01)
    assert count_params(network) == pytest.approx(23.75e6, rel=0.01)


def test_making_a_network_uses_no_more_random_numbers_than_its_weights() -> None:
    torch.manual_seed(0)
    network = build_network("compact", {"dropout": 0.5}, dim=8, spec=spec_of())
    after = torch.rand(1)
    torch.manual_seed(0)
    backbone = Compact(1, CompactArguments(dropout=0.5))
    EncoderNetwork(backbone, backbone.num_features, 8, spec_of())
    assert torch.equal(after, torch.rand(1))
    assert all(module.training for module in network.modules())


def test_a_mobile_network_can_be_a_query_encoder() -> None:
    spec = spec_of(32, 3)
    network: EncoderNetwork = build_network("timm", {"name": "mobilenetv3_small_050"}, dim=32, spec=spec).eval()
    assert network(pixels_for(spec)).shape == (3, 32)


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("compakt", {}, "Did you mean 'compact'"),
        ("compact", {"involution": 1}, "Did you mean 'involutions'"),
        ("compact", {"involutions": 5}, "less than or equal to 4"),
        ("compact", {"involutions": 0, "widths": []}, "nothing to learn"),
        ("compact", {"kernel_size": 4}, "^the arguments of 'compact' cannot work: observed kernel_size must be odd"),
        ("compact", {"groups": 2}, "must divide channels"),
        ("timm", {"name": "vit_tiny_patch16_224"}, "img_size"),
        ("timm", {"name": "resnetv2_5000"}, "resnetv2_50"),
        ("timm", {"name": "mobilenetv3_small_050", "stem": "small"}, "ResNetV2"),
    ],
)
def test_wrong_networks_are_refused(architecture: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network(architecture, arguments, dim=8, spec=spec_of())
