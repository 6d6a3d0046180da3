"""The head that draws an embedding towards class means, against NumPy and a hand-made case."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hetsearch.bundle import EncoderCard, write_card
from hetsearch.errors import DataError
from hetsearch.export import export_bundle
from hetsearch.models.cost import count_macs, count_params
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.prototypes import STRENGTHS, PrototypeAttention, class_means, fit_prototypes
from hetsearch.models.torch_encoder import TorchEncoder
from hetsearch.models.weights import load_network, save_weights
from hetsearch.preprocess import InputSpec
from hetsearch.runtime import load_encoder
from hetsearch.space import Vectors

DIM = 8


def unit(rows: np.ndarray) -> Vectors:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def head_of(rows: Vectors, strength: float, scale: float) -> PrototypeAttention:
    head = PrototypeAttention(*rows.shape)
    head.rows.copy_(torch.from_numpy(rows))
    head.strength.fill_(strength)
    head.scale.fill_(scale)
    return head


def clusters(noise: float, *, seed: int = 0) -> tuple[Vectors, Vectors, np.ndarray]:
    """Rows, vectors near to them, and the row of each."""
    random = np.random.default_rng(seed)
    rows = unit(random.normal(size=(3, DIM)))
    labels = np.arange(60) % 3
    return rows, unit(rows[labels] + noise * random.normal(size=(60, DIM))), labels


def test_the_update_is_numpys() -> None:
    rows, vectors, _ = clusters(0.4)
    logits = 16.0 * vectors.astype(np.float64) @ rows.T
    weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    moved = vectors + 0.7 * weights @ rows
    expected = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    found = head_of(rows, 0.7, 16.0)(torch.from_numpy(vectors)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_means_leave_out_what_is_unknown() -> None:
    vectors = np.zeros((5, 2), dtype=np.float32)
    vectors[0], vectors[1], vectors[3] = (1, 0), (0, 1), (0, 1)
    found = class_means(vectors, np.array([4, 4, 4, 7, 9]))  # nothing is known of 9
    np.testing.assert_allclose(found, [[np.sqrt(0.5), np.sqrt(0.5)], [0, 1]], atol=1e-7)


def test_the_fit_brings_noisy_queries_nearer_to_the_gallery() -> None:
    rows, gallery, _ = clusters(0.2)
    query = unit(gallery + 0.3 * np.random.default_rng(1).normal(size=gallery.shape))
    head = fit_prototypes(query, gallery, rows)
    assert head is not None
    found = head(torch.from_numpy(query)).detach().numpy()
    assert (found * gallery).sum(axis=1).mean() > (query * gallery).sum(axis=1).mean() + 0.02
    # No neighbour on the grid is better.
    best = float((found * gallery).sum(axis=1).mean())
    assert STRENGTHS[0] < float(head.strength) < STRENGTHS[-1]
    for strength in (float(head.strength) - 0.1, float(head.strength) + 0.1):
        other = head_of(rows, strength, float(head.scale))(torch.from_numpy(query)).detach().numpy()
        assert float((other * gallery).sum(axis=1).mean()) <= best + 1e-7


def test_queries_that_are_the_gallerys_need_no_head() -> None:
    rows, gallery, _ = clusters(0.3)
    assert fit_prototypes(gallery, gallery, rows) is None


def test_vectors_that_are_none_are_refused() -> None:
    rows, gallery, _ = clusters(0.3)
    with pytest.raises(DataError, match="the classes' vectors"):
        fit_prototypes(gallery, gallery, 2 * rows)


def network_with_head() -> EncoderNetwork:
    torch.manual_seed(0)
    spec = InputSpec(size=28, channels=1, mean=(0.3,), std=(0.4,))
    network = build_network("compact", {}, dim=DIM, spec=spec).eval()
    network.prototypes = head_of(clusters(0.3)[0], 0.5, 16.0)
    return network


def test_the_head_is_counted() -> None:
    network = network_with_head()
    params, macs = count_params(network), count_macs(network)
    network.prototypes = None
    assert params - count_params(network) == 3 * DIM
    assert macs - count_macs(network) == 2 * 3 * DIM


def test_the_head_is_saved_loaded_and_exported(tmp_path: Path) -> None:
    network = network_with_head()
    pixels = np.random.default_rng(0).integers(0, 256, (5, 1, 28, 28), dtype=np.uint8)
    expected = TorchEncoder(network, name="", space="").encode_pixels(pixels)
    save_weights(network, tmp_path)
    card = EncoderCard(
        role="query", space="sp_1", dim=DIM, architecture="compact", prototypes=3, input=network.spec,
        params=count_params(network), macs=count_macs(network),
    )  # fmt: skip
    write_card(tmp_path, card)
    export_bundle(tmp_path)
    encoder = load_encoder(tmp_path)
    np.testing.assert_allclose(encoder.encode_pixels(pixels), expected, atol=1e-5)
    again = TorchEncoder(load_network(tmp_path, encoder.card), name="", space="").encode_pixels(pixels)
    np.testing.assert_array_equal(again, expected)
