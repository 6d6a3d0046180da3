import pytest
import torch
import torch.nn.functional as F

from hetsearch.errors import ConfigError
from hetsearch.objectives import Batch, Context, check_objectives
from hetsearch.objectives.similarity import Similarity, SimilarityConfig
from tests.objectives.made import DIM, KNOWN, check_that_only_the_known_are_pulled, learn, random_units, with_unknown


def value(embeddings: torch.Tensor, targets: torch.Tensor, **config: float) -> torch.Tensor:
    term = Similarity(SimilarityConfig(**config), Context(3, DIM))
    return term(Batch(embeddings, torch.full((len(embeddings),), -1), targets))


def by_loops(embeddings: torch.Tensor, targets: torch.Tensor, absolute: float = 1.0, relative: float = 0.7482) -> float:
    q, g = embeddings.double().tolist(), targets.double().tolist()
    count = len(q)

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    own = sum((1 - cosine(q[i], g[i])) ** 2 for i in range(count)) / count
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    cross = sum((cosine(q[i], g[j]) - cosine(g[i], g[j])) ** 2 for i, j in pairs) / max(len(pairs), 1)
    return absolute * own + relative * cross


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, 0.08 + 0.7482 * 0.32),
        ({"absolute": 2.0, "relative": 0.0}, 0.16),
        ({"absolute": 0.0, "relative": 1.0}, 0.32),
    ],
)
def test_by_hand(config: dict[str, float], expected: float) -> None:
    # Absolute: (0.4² + 0²) / 2. Off the diagonal q₁·g₂ is 0 and q₂·g₁ is 0.8, where g₁·g₂ is 0.8: 0.8² / 2.
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    targets = torch.tensor([[0.6, 0.8], [0.0, 1.0]])
    assert value(embeddings, targets, **config).item() == pytest.approx(expected, rel=1e-5)


def test_equals_the_slow_reference() -> None:
    embeddings, targets = random_units(9, 0), random_units(9, 1)
    assert value(embeddings, targets).item() == pytest.approx(by_loops(embeddings, targets), rel=1e-5)


def test_at_the_target_value_and_gradient_are_zero() -> None:
    embeddings = random_units(4, 0).requires_grad_()
    got = value(embeddings, embeddings.detach().clone())
    got.backward()
    assert got.item() == pytest.approx(0, abs=1e-12)
    assert embeddings.grad is not None
    assert embeddings.grad.abs().max().item() < 1e-6


def test_unknown_targets_are_left_out() -> None:
    embeddings, targets = with_unknown()
    got = value(embeddings, targets)
    assert got.item() == pytest.approx(by_loops(embeddings.detach()[KNOWN], targets[KNOWN]), rel=1e-5)
    check_that_only_the_known_are_pulled(got, embeddings)


@pytest.mark.parametrize("known", [0, 1])
def test_hardly_any_known_target_is_finite(known: int) -> None:
    embeddings, targets = random_units(3, 0).requires_grad_(), random_units(3, 1)
    targets[known:] = 0
    got = value(embeddings, targets)
    got.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    expected = by_loops(embeddings.detach()[:1], targets[:1]) if known else 0.0
    assert got.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("config", [{}, {"absolute": 0.0, "relative": 1.0}])
def test_one_batch_can_be_learnt(config: dict[str, float]) -> None:
    raw, targets = random_units(16, 0).requires_grad_(), random_units(16, 1)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    before = F.cosine_similarity(raw, targets).mean().item()
    values = learn(lambda rows: value(rows, targets, **config), raw, optimizer)
    assert values[-1] < 0.05 * values[0]
    assert F.cosine_similarity(raw, targets).mean().item() > max(before + 0.3, 0.8)


def test_it_asks_for_targets_alone() -> None:
    assert Similarity.needs == {"targets"}
    assert SimilarityConfig().extra_needs() == frozenset()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"absolute": 0, "relative": 0}, "nothing to learn"),
        ({"relative": -1}, "greater than or equal to 0"),
        ({"absolute": float("inf")}, "finite"),
        ({"relativ": 1}, "'relative'"),
    ],
)
def test_wrong_settings_are_refused(config: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_objectives({"similarity": config})
