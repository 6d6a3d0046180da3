from __future__ import annotations

import pytest
import torch

from hetsearch.errors import ConfigError
from hetsearch.models.network import build_network
from hetsearch.preprocess import InputSpec

GREY = InputSpec(size=32, channels=1, mean=(0.5,), std=(0.5,))


@pytest.mark.parametrize(("name", "features"), [("shufflenet_v2_x0_5", 1024), ("mobilenet_v3_small", 1024)])
def test_a_network_of_torchvision_embeds_grey_images(name: str, features: int) -> None:
    torch.manual_seed(0)
    network = build_network("torchvision", {"name": name}, dim=16, spec=GREY).eval()
    assert network.embedding.in_features == features
    vectors = network(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "shufflenet_v2_x9"}, "no network 'shufflenet_v2_x9'.*shufflenet_v2_x"),
        ({"name": "squeezenet1_1"}, "cannot be a backbone"),
        ({"name": "googlenet", "options": {"init_weights": False}}, "auxiliary outputs.*aux_logits: false"),
        ({"name": "shufflenet_v2_x0_5", "options": {"depth": 3}}, "cannot make"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network("torchvision", arguments, dim=16, spec=GREY)
