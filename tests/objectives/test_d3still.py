import math

import pytest
import torch
import torch.nn.functional as F

from hetsearch.errors import ConfigError
from hetsearch.objectives import Batch, Context, check_objectives
from hetsearch.objectives.d3still import D3still, D3stillConfig
from tests.objectives.made import DIM, learn, random_units


def value(embeddings: torch.Tensor, targets: torch.Tensor, **config: float) -> torch.Tensor:
    term = D3still(D3stillConfig(**config), Context(3, DIM))
    return term(Batch(embeddings, torch.full((len(embeddings),), -1), targets))


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def pairs_by_loops(t: list[float], s: list[float]) -> tuple[float, float]:
    """The norms of the hard and of the simple errors of one image, from its similarities to its neighbours."""
    hard = simple = 0.0
    for j in range(len(t)):
        for k in range(len(t)):
            expected, observed = t[j] - t[k], s[j] - s[k]
            error = (observed - expected) / (0.1 + abs(expected))
            if expected * observed < 0:
                hard += error**2
            elif expected * observed > 0:
                simple += error**2
    return math.sqrt(hard), math.sqrt(simple)


def by_loops(
    embeddings: torch.Tensor,
    targets: torch.Tensor,
    neighbours: int = 10,
    alpha: float = 200.0,
    beta: float = 10.0,
    gamma: float = 2.0,
) -> float:
    q, g = embeddings.double().tolist(), targets.double().tolist()
    count = len(q)
    others = min(neighbours, count) - 1
    own, order = 0.0, 0.0
    for i in range(count):
        own += (dot(g[i], g[i]) - dot(q[i], g[i])) ** 2
        nearest = sorted((j for j in range(count) if j != i), key=lambda j: -dot(g[i], g[j]))[:others]
        hard, simple = pairs_by_loops([dot(g[i], g[j]) for j in nearest], [dot(q[i], g[j]) for j in nearest])
        order += (beta * hard + gamma * simple) / max(others, 1)
    return alpha * math.sqrt(own) / count + order / count


@pytest.mark.parametrize(
    ("embedding", "own", "hard", "simple"),
    [
        # Neighbours (0.8, 0.6) and (0.6, 0.8) of (1, 0): t = 0.8, 0.6 and Δt = ±0.2, each pair counted in both orders.
        ([0.0, 1.0], 1.0, math.sqrt(2) * 0.4 / 0.3, 0.0),  # s = 0.6, 0.8, Δs = ∓0.2: the wrong order
        ([0.8, -0.6], 0.2, 0.0, math.sqrt(2) * 0.08 / 0.3),  # s = 0.28, 0, Δs = ±0.28: the right order, too far apart
    ],
)
def test_by_hand(embedding: list[float], own: float, hard: float, simple: float) -> None:
    targets = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    embeddings = torch.cat([torch.tensor([embedding]), targets[1:]])  # the others are where they belong
    # Three images, two neighbours each.
    expected = 200 * own / 3 + (10 * hard + 2 * simple) / 2 / 3
    assert value(embeddings, targets).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"neighbours": 5},
        {"neighbours": 3},
        {"alpha": 1.0, "beta": 0.0, "gamma": 0.0},
        {"alpha": 0.0, "beta": 1.0, "gamma": 0.0},
        {"alpha": 0.0, "beta": 0.0, "gamma": 1.0},
    ],
)
@pytest.mark.parametrize("count", [2, 3, 6, 14])
def test_equals_the_slow_reference_where_k_shrinks_to_the_batch(config: dict[str, float], count: int) -> None:
    embeddings, targets = random_units(count, 0), random_units(count, 1)
    expected = by_loops(embeddings, targets, **config)
    assert value(embeddings, targets, **config).item() == pytest.approx(expected, rel=1e-4)


def test_at_the_target_value_and_gradient_are_finite() -> None:
    embeddings = random_units(6, 0).requires_grad_()
    got = value(embeddings, embeddings.detach().clone())
    got.backward()
    assert got.item() == pytest.approx(0, abs=1e-5)
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def test_equal_targets_are_each_their_own_first_and_their_order_is_not_asked() -> None:
    targets = random_units(1, 1).repeat(4, 1)
    embeddings = random_units(4, 0).requires_grad_()
    got = value(embeddings, targets)
    got.backward()
    own = (1 - (embeddings.detach() * targets).sum(dim=1)).norm().item()
    assert got.item() == pytest.approx(200 * own / 4, rel=1e-4)
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def test_unknown_targets_are_left_out() -> None:
    embeddings, targets = random_units(8, 0).requires_grad_(), random_units(8, 1)
    targets[[1, 4]] = 0
    known = [0, 2, 3, 5, 6, 7]
    got = value(embeddings, targets)
    assert got.item() == pytest.approx(by_loops(embeddings.detach()[known], targets[known]), rel=1e-4)
    got.backward()
    assert embeddings.grad is not None
    assert embeddings.grad[[1, 4]].eq(0).all()
    assert embeddings.grad[known].ne(0).any(dim=1).all()


@pytest.mark.parametrize("known", [0, 1, 2])
def test_hardly_any_known_target_is_finite(known: int) -> None:
    embeddings, targets = random_units(3, 0).requires_grad_(), random_units(3, 1)
    targets[known:] = 0
    got = value(embeddings, targets)
    got.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    expected = by_loops(embeddings.detach()[:known], targets[:known]) if known else 0.0
    assert got.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_a_batch_of_one_or_two_at_its_target_is_finite(count: int) -> None:
    embeddings = random_units(count, 0).requires_grad_()
    got = value(embeddings, embeddings.detach().clone())
    got.backward()
    assert got.item() == pytest.approx(0, abs=1e-5)
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def test_one_batch_can_be_learnt() -> None:
    raw, targets = random_units(12, 0).requires_grad_(), random_units(12, 1)
    optimizer = torch.optim.Adam([raw], lr=0.03)
    before = F.cosine_similarity(raw, targets).mean().item()
    values = learn(lambda rows: value(rows, targets), raw, optimizer)
    assert values[-1] < 0.1 * values[0]
    assert F.cosine_similarity(raw, targets).mean().item() > max(before + 0.3, 0.9)


def test_it_asks_for_targets_alone() -> None:
    assert D3still.needs == {"targets"}
    assert D3stillConfig().extra_needs() == frozenset()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"neighbours": 2}, "greater than or equal to 3"),
        ({"alpha": 0, "beta": 0, "gamma": 0}, "nothing to learn"),
        ({"beta": -1}, "greater than or equal to 0"),
        ({"neighbors": 5}, "'neighbours'"),
    ],
)
def test_wrong_settings_are_refused(config: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_objectives({"d3still": config})
