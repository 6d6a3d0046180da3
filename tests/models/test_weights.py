from pathlib import Path

import numpy as np
import pytest
import torch

from hetsearch.bundle import WEIGHTS, EncoderCard
from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.models.network import build_network
from hetsearch.models.torch_encoder import TorchEncoder
from hetsearch.models.weights import arrays_of, load_network, save_weights
from hetsearch.preprocess import InputSpec


def card_for(spec: InputSpec) -> EncoderCard:
    return EncoderCard(
        role="query", space="sp_0", dim=8, architecture="compact", input=spec, params=1, macs=1
    )


def test_weights_come_back_exactly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    spec = InputSpec()
    network = build_network("compact", {}, dim=8, spec=spec)
    network(torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8))  # moves the running statistics
    save_weights(network, tmp_path)
    loaded = load_network(tmp_path, card_for(spec))
    for name, array in arrays_of(network).items():
        np.testing.assert_array_equal(arrays_of(loaded)[name], array)


def test_missing_and_foreign_weights(tmp_path: Path) -> None:
    spec = InputSpec()
    with pytest.raises(UsageError, match="no float32 weights"):
        load_network(tmp_path, card_for(spec))
    save_weights(build_network("compact", {"widths": [8]}, dim=8, spec=spec), tmp_path)
    with pytest.raises(DamagedArtifact, match="does not fit its card"):
        load_network(tmp_path, card_for(spec))
    (tmp_path / WEIGHTS).write_bytes(b"not weights")
    with pytest.raises(DamagedArtifact, match="does not fit its card"):
        load_network(tmp_path, card_for(spec))


def test_a_torch_encoder_embeds_in_batches_and_keeps_the_mode(fashion_test) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    images, _ = fashion_test
    network = build_network("compact", {}, dim=8, spec=InputSpec()).train()
    encoder = TorchEncoder(network, name="q", space="sp_0", batch_size=7)
    vectors = encoder.encode_pixels(images[:20, None])
    assert network.training
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(images[:20, None].copy())).numpy()
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert encoder.encode([images[0], images[1]]).keys == ("0", "1")
    assert encoder.encode_pixels(np.zeros((0, 1, 28, 28), np.uint8)).shape == (0, 8)
