import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans

from hetsearch.errors import ConfigError
from hetsearch.objectives.base import Batch, Context, Memory
from hetsearch.objectives.codebook import Codebook, CodebookConfig, fit_codebook, spherical_k_means, split


def random_unit(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def codebook(vectors: torch.Tensor, seed: int = 0, **settings: float) -> Codebook:
    context = Context(3, vectors.shape[1], memory=Memory(vectors), seed=seed)
    return Codebook(CodebookConfig.model_validate(settings), context)


def batch_of(embeddings: torch.Tensor, targets: torch.Tensor) -> Batch:
    return Batch(embeddings, torch.full((len(embeddings),), -1), targets)


def by_loops(term: Codebook, embeddings: torch.Tensor, targets: torch.Tensor, scale: float) -> float:
    """The term in float64, image by image, sub-space by sub-space, centroid by centroid."""
    values = []
    for q, g in zip(embeddings.double().tolist(), targets.double().tolist(), strict=True):
        if not any(g):
            continue
        divergences = []
        for m, (centroids, absent) in enumerate(zip(term.centroids.double().tolist(), term.absent, strict=True)):
            size = len(centroids[0])
            used = [c for c, gone in zip(centroids, absent.tolist(), strict=True) if not gone]
            codes = []
            for vector in (g, q):
                part = vector[m * size : (m + 1) * size]
                norm = math.sqrt(sum(x * x for x in part))
                scores = [math.exp(scale * sum(x * y for x, y in zip(part, c, strict=True)) / norm) for c in used]
                codes.append([score / sum(scores) for score in scores])
            divergences.append(sum(p * math.log(p / s) for p, s in zip(*codes, strict=True)))
        values.append(sum(divergences) / len(divergences))
    return sum(values) / len(values)


def test_by_hand() -> None:
    # One sub-space, whose only two distinct directions become its two centroids.
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    term = codebook(vectors, subspaces=1, centroids=8, scale=2.0)
    value = term(batch_of(torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]])))
    p = math.exp(2) / (math.exp(2) + 1)
    s = math.exp(1.2) / (math.exp(1.2) + math.exp(1.6))
    assert value.item() == pytest.approx(p * math.log(p / s) + (1 - p) * math.log((1 - p) / (1 - s)), rel=1e-5)


def test_equals_plain_loops_with_an_unknown_target() -> None:
    term = codebook(random_unit(60, 12), subspaces=3, centroids=7, scale=6.0)
    embeddings, targets = random_unit(5, 12, seed=1), random_unit(5, 12, seed=2)
    targets[3] = 0
    value = term(batch_of(embeddings, targets))
    assert value.item() == pytest.approx(by_loops(term, embeddings, targets, 6.0), rel=1e-4)


def test_subspaces_may_have_different_numbers_of_centroids() -> None:
    vectors = random_unit(30, 4)
    vectors[:, :2] = torch.tensor([0.5, -0.5])  # one distinct sub-vector
    term = codebook(vectors, subspaces=2, centroids=6, scale=5.0)
    assert term.absent.sum(dim=1).tolist() == [5, 0]
    embeddings, targets = random_unit(4, 4, seed=1), random_unit(4, 4, seed=2)
    assert term(batch_of(embeddings, targets)).item() == pytest.approx(
        by_loops(term, embeddings, targets, 5.0), rel=1e-4
    )


def test_equal_embeddings_cost_nothing() -> None:
    vectors = random_unit(40, 8)
    assert codebook(vectors, subspaces=2, centroids=5)(batch_of(vectors, vectors)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("known", [0, 1])
def test_degenerate_batches_have_finite_gradients(known: int) -> None:
    term = codebook(random_unit(20, 8), subspaces=2, centroids=5)
    embeddings = random_unit(4, 8, seed=1)
    embeddings[1, :4] = 0  # a sub-vector without a direction
    raw = embeddings.clone().requires_grad_()
    targets = random_unit(4, 8, seed=2)
    targets[known:] = 0
    value = term(batch_of(raw, targets))
    value.backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    assert not raw.grad[known:].any()
    assert (value.item() > 0) == bool(known)


def test_training_on_one_batch_brings_embeddings_to_their_targets() -> None:
    term = codebook(random_unit(200, 8), subspaces=2, centroids=32)
    raw, targets = random_unit(6, 8, seed=1).requires_grad_(), random_unit(6, 8, seed=2)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    values, cosines = [], []
    for _ in range(100):
        embeddings = F.normalize(raw, dim=1)
        loss = term(batch_of(embeddings, targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
        # Sub-vectors have no lengths here, so it is their directions that come together.
        cosines.append((split(embeddings.detach(), 2) * split(targets, 2)).sum(dim=2).mean().item())
    assert values[-1] < 0.01 * values[0]
    assert cosines[-1] > 0.95 > cosines[0]


def test_a_seed_gives_one_codebook_and_draws_nothing_else() -> None:
    vectors = random_unit(100, 8)
    torch.manual_seed(0)
    first = codebook(vectors, seed=3, subspaces=2, centroids=9)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1))
    again, another = (codebook(vectors, seed=seed, subspaces=2, centroids=9) for seed in (3, 4))
    assert torch.equal(first.centroids, again.centroids)
    assert not torch.equal(first.centroids, another.centroids)
    assert first.state_dict() == {}
    assert list(first.parameters()) == []


def test_k_means_finds_clear_clusters_and_counts_repeated_points() -> None:
    centres = torch.eye(4)
    points = F.normalize(centres.repeat(10, 1) + 0.05 * random_unit(40, 4), dim=1)
    repeats = torch.ones(40, dtype=torch.long)
    repeats[0] = 31
    found = spherical_k_means(points, repeats, points[[0, 1, 2, 3]], iterations=20)
    for label, centroid in enumerate(found):
        mean = F.normalize((points * repeats[:, None])[label::4].sum(dim=0), dim=0)
        np.testing.assert_allclose(centroid, mean, atol=1e-6)


def test_k_means_is_as_good_as_scikit_learns() -> None:
    points = random_unit(300, 5)
    found = spherical_k_means(points, torch.ones(300, dtype=torch.long), points[:12], iterations=30)
    assert (found.norm(dim=1) - 1).abs().max() < 1e-5
    reference = KMeans(12, n_init=1, init=points[:12].numpy(), max_iter=30).fit(points.numpy())
    centres = reference.cluster_centers_ / np.linalg.norm(reference.cluster_centers_, axis=1, keepdims=True)
    theirs = (points.numpy() @ centres.T).max(axis=1).mean()
    assert float((points @ found.T).max(dim=1).values.mean()) == pytest.approx(theirs, abs=0.01)


def test_empty_clusters_are_put_on_the_farthest_points() -> None:
    angles = torch.tensor([0.0, 0.1, 2.0, 3.0])
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    # The first of three equal centroids gets every point; the other two, none.
    after = spherical_k_means(points, torch.ones(4, dtype=torch.long), points[[0, 0, 0]], iterations=1)
    np.testing.assert_allclose(after[0], F.normalize(points.sum(dim=0), dim=0), atol=1e-6)
    np.testing.assert_allclose(after[1:], points[[3, 2]], atol=1e-6)


def test_opposite_points_leave_their_centroid_where_it_was() -> None:
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    first = torch.tensor([[0.0, 1.0]])
    assert torch.equal(spherical_k_means(points, torch.ones(2, dtype=torch.long), first, iterations=3), first)


def test_never_more_centroids_than_distinct_sub_vectors() -> None:
    vectors = random_unit(3, 6).repeat(5, 1)
    centroids, absent = fit_codebook(vectors, 3, 256, iterations=5, seed=0)
    assert centroids.shape == (3, 3, 2)
    assert not absent.any()
    for part, found in zip(split(vectors, 3)[:3].unbind(dim=1), centroids, strict=True):
        np.testing.assert_allclose((part @ found.T).max(dim=1).values, 1, atol=1e-6)


def test_very_many_vectors_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hetsearch.objectives.codebook.POINTS_PER_CENTROID", 2)
    monkeypatch.setattr("hetsearch.objectives.codebook.CHUNK", 3)
    centroids, _ = fit_codebook(random_unit(50, 4), 2, 4, iterations=5, seed=0)
    assert centroids.shape == (2, 4, 2)
    assert (centroids.norm(dim=2) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("subspaces", [5, 12, 13])
def test_subspaces_that_do_not_split_the_dimension_are_refused(subspaces: int) -> None:
    with pytest.raises(ConfigError, match=f"12 dimensions: observed {subspaces}, expected one of: 1, 2, 3, 4, 6"):
        codebook(random_unit(5, 12), subspaces=subspaces)


def test_no_embedding_to_fit_on_is_refused() -> None:
    with pytest.raises(ConfigError, match="no training image has an embedding"):
        codebook(torch.zeros(0, 8))
