from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hetsearch.errors import ConfigError
from hetsearch.models.network import EncoderNetwork
from hetsearch.nas.paths import Paths
from hetsearch.nas.supernet import build_supernet, calibrate, cut_out, supernet_of
from hetsearch.preprocess import InputSpec


@pytest.fixture
def network(paths: Paths) -> EncoderNetwork:
    torch.manual_seed(0)
    return build_supernet(paths.space, dim=paths.dim, spec=paths.spec)


def pixels_for(spec: InputSpec, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, spec.size, spec.size), generator=generator, dtype=torch.uint8)


def test_a_network_that_is_cut_out_does_what_its_path_does(network: EncoderNetwork, paths: Paths) -> None:
    pixels = pixels_for(paths.spec, 8)
    for path in paths.draw(np.random.default_rng(0), 6).tolist():
        name = paths.spell(path)
        supernet_of(network).choose(name)
        # In training both normalise by the batch.
        torch.testing.assert_close(cut_out(network, name).train()(pixels), network(pixels))


def test_narrow_blocks_use_the_first_channels_of_the_widest(network: EncoderNetwork, paths: Paths) -> None:
    supernet = supernet_of(network)
    wide, narrow = (
        next(gene for gene in paths.positions[1].genes if str(gene) == name) for name in ("s3", "s3w50")
    )
    widest, first = supernet.weights(1, wide), supernet.weights(1, narrow)
    assert first.keys() == widest.keys()
    assert any(first[name].numel() < widest[name].numel() for name in first)
    for name, tensor in first.items():
        torch.testing.assert_close(tensor, widest[name][tuple(slice(size) for size in tensor.shape)])
        assert tensor.data_ptr() == widest[name].data_ptr()  # shared, not copied


def test_a_step_leaves_other_choices_alone(network: EncoderNetwork, paths: Paths) -> None:
    supernet_of(network).choose("c3-s3w50-c3-skip")
    network(pixels_for(paths.spec, 8))[:, 0].sum().backward()
    moved = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[3] for name in moved if name.startswith("backbone.blocks.1.")} == {"shuffle3"}
    assert {name.split(".")[3] for name in moved if name.startswith("backbone.blocks.2.")} == {"conv3"}
    assert not any(name.startswith("backbone.blocks.3.") for name in moved)
    assert {"embedding.weight", "embedding.bias"} <= moved


def test_statistics_are_the_mean_over_batches(network: EncoderNetwork, paths: Paths) -> None:
    pixels = pixels_for(paths.spec, 25)
    alone = cut_out(network, "c3-skip-c3-skip")
    calibrate(alone, pixels, batch_size=10)
    first = next(module for module in alone.modules() if isinstance(module, nn.BatchNorm2d))
    convolution = next(module for module in alone.modules() if isinstance(module, nn.Conv2d))
    normal = torch.nn.functional.max_pool2d((pixels.float() - alone.mean) / alone.std, 2, ceil_mode=True)
    with torch.no_grad():
        given = convolution(normal[:20])  # the rest of 5 is left out
    torch.testing.assert_close(first.running_mean, given.mean(dim=(0, 2, 3)))
    variances = torch.stack([half.var(dim=(0, 2, 3)) for half in given.split(10)])
    torch.testing.assert_close(first.running_var, variances.mean(dim=0))
    assert not alone.training


def test_an_unknown_path_is_refused(network: EncoderNetwork) -> None:
    with pytest.raises(ConfigError, match="gene 4"):
        supernet_of(network).choose("c3-skip-c3-s5")
    with pytest.raises(ConfigError, match="observed 1 genes"):
        cut_out(network, "c3")
