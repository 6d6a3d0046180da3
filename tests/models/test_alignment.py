import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import Ridge

from hetsearch.errors import DataError, UsageError
from hetsearch.models.alignment import fit_map, fold
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.torch_encoder import TorchEncoder
from hetsearch.preprocess import InputSpec
from hetsearch.space import Vectors

DIM = 6


def unit(rows: np.ndarray) -> Vectors:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def pair(count: int = 50, dim: int = DIM) -> tuple[Vectors, Vectors]:
    """A query encoder's embeddings that are a turned, noisy copy of the gallery encoder's."""
    random = np.random.default_rng(0)
    gallery = unit(random.normal(size=(count, dim)))
    turn = np.linalg.qr(random.normal(size=(dim, dim)))[0]
    return unit(gallery @ turn.T + 0.2 * random.normal(size=(count, dim))), gallery


def network() -> EncoderNetwork:
    torch.manual_seed(0)
    return build_network("compact", {}, dim=DIM, spec=InputSpec(size=28, channels=1, mean=(0.3,), std=(0.4,))).eval()


def test_procrustes_is_scipys() -> None:
    query, gallery = pair()
    found = fit_map(query, gallery, "procrustes")
    expected, _ = orthogonal_procrustes(query.astype(np.float64), gallery.astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=1e-10)
    np.testing.assert_allclose(found @ found.T, np.eye(DIM), atol=1e-12)


def test_procrustes_undoes_a_turn() -> None:
    random = np.random.default_rng(1)
    gallery = unit(random.normal(size=(40, DIM)))
    turn = np.linalg.qr(random.normal(size=(DIM, DIM)))[0]
    np.testing.assert_allclose(fit_map(unit(gallery @ turn.T), gallery, "procrustes"), turn, atol=1e-6)


@pytest.mark.parametrize("ridge", [1e-3, 0.5, 20.0])
def test_ridge_is_scikit_learns_around_the_identity(ridge: float) -> None:
    query, gallery = pair()
    q, g = query.astype(np.float64), gallery.astype(np.float64)
    reference = Ridge(alpha=ridge * len(q), fit_intercept=False).fit(q, g - q)
    found = fit_map(query, gallery, "ridge", ridge=ridge)
    np.testing.assert_allclose(found, np.eye(DIM) + reference.coef_.T, atol=1e-8)


def test_no_ridge_is_least_squares() -> None:
    query, gallery = pair()
    expected = np.linalg.pinv(query.astype(np.float64)) @ gallery.astype(np.float64)
    np.testing.assert_allclose(fit_map(query, gallery, "ridge", ridge=0), expected, atol=1e-8)


@pytest.mark.parametrize(("ridge", "tolerance"), [(1e9, 1e-8), (float("inf"), 0)])
def test_much_ridge_leaves_the_encoder_as_it_is(ridge: float, tolerance: float) -> None:
    np.testing.assert_allclose(fit_map(*pair(), "ridge", ridge=ridge), np.eye(DIM), atol=tolerance)


@pytest.mark.parametrize("method", ["procrustes", "ridge"])
def test_queries_in_a_subspace(method: str) -> None:
    query, gallery = pair()
    query[:, 3:] = 0
    found = fit_map(unit(query), gallery, method, ridge=0)  # type: ignore[arg-type]
    assert np.isfinite(found).all()
    if method == "ridge":  # directions that no query has stay as they are
        np.testing.assert_allclose(found[3:], np.eye(DIM)[3:], atol=1e-10)


@pytest.mark.parametrize("method", ["procrustes", "ridge"])
def test_a_folded_network_embeds_what_mapping_and_normalising_gives(method: str) -> None:
    pixels = torch.randint(0, 256, (20, 1, 28, 28), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    net = network()
    with torch.no_grad():
        net.embedding.bias.copy_(torch.linspace(-1, 1, DIM))  # so that a bias left unmapped would show
    encoder = TorchEncoder(net, name="q", space="sp")
    before = encoder.encode_pixels(pixels.numpy())
    gallery = unit(np.random.default_rng(2).normal(size=(20, DIM)))
    matrix = fit_map(before, gallery, method)  # type: ignore[arg-type]
    fold(net, matrix)
    after = encoder.encode_pixels(pixels.numpy())
    np.testing.assert_allclose(after, unit(before.astype(np.float64) @ matrix), atol=1e-5)
    assert np.abs(after - before).max() > 0.1
    assert (after * gallery).sum() > (before * gallery).sum()
    assert net.embedding.weight.dtype == torch.float32
    assert net.embedding.weight.requires_grad


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        (pair(50)[0], pair(49)[1], r"same images: observed \(50, 6\) and \(49, 6\)"),
        (pair(50)[0], pair(50, 5)[1], r"\(50, 6\) and \(50, 5\)"),
        (pair(50)[0][0], pair(50)[1][0], r"expected twice \(n, dim\)"),
        (pair(5)[0], pair(5)[1], "too few images for an alignment: observed 5, expected at least 6"),
        (2 * pair()[0], pair()[1], "the query encoder's embeddings are not of unit length"),
        (pair()[0], np.nan * pair()[1], "the gallery encoder's embeddings hold NaN"),
    ],
)
def test_wrong_embeddings_are_refused(query: Vectors, gallery: Vectors, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit_map(query, gallery, "procrustes")


@pytest.mark.parametrize("ridge", [-1.0, float("nan")])
def test_a_wrong_ridge_is_refused(ridge: float) -> None:
    with pytest.raises(UsageError, match="'ridge' is wrong"):
        fit_map(*pair(), "ridge", ridge=ridge)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(UsageError, match="procrustes or ridge"):
        fit_map(*pair(), "rigde")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(5), r"wrong shape: observed \(5, 5\), expected \(6, 6\)"),
        (np.full((6, 6), np.inf), "holds NaN or infinity"),
    ],
)
def test_a_wrong_map_is_refused(matrix: np.ndarray, message: str) -> None:
    net = network()
    before = net.embedding.weight.clone()
    with pytest.raises(DataError, match=message):
        fold(net, matrix)
    assert torch.equal(net.embedding.weight, before)
