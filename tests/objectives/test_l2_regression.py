import math

import pytest
import torch
import torch.nn.functional as F

from hetsearch.errors import ConfigError
from hetsearch.objectives import Batch, Context, check_objectives
from hetsearch.objectives.l2_regression import L2Regression, L2RegressionConfig
from tests.objectives.made import DIM, KNOWN, check_that_only_the_known_are_pulled, learn, random_units, with_unknown


def value(embeddings: torch.Tensor, targets: torch.Tensor, margin: float = 0.0) -> torch.Tensor:
    term = L2Regression(L2RegressionConfig(margin=margin), Context(3, DIM))
    return term(Batch(embeddings, torch.full((len(embeddings),), -1), targets))


def by_loops(embeddings: torch.Tensor, targets: torch.Tensor, margin: float) -> float:
    pairs = zip(embeddings.double().tolist(), targets.double().tolist(), strict=True)
    return sum(max(0.0, math.dist(q, g) - margin) for q, g in pairs) / len(embeddings)


@pytest.mark.parametrize(("margin", "expected"), [(0.0, (2**0.5 + 0.8**0.5) / 2), (1.0, (2**0.5 - 1) / 2)])
def test_by_hand(margin: float, expected: float) -> None:
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    targets = torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    assert value(embeddings, targets, margin).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("margin", [0.0, 0.7, 1.3, 1.99])
def test_equals_the_slow_reference(margin: float) -> None:
    embeddings, targets = random_units(9, 0), random_units(9, 1)
    got = value(embeddings, targets, margin).item()
    assert got == pytest.approx(by_loops(embeddings, targets, margin), rel=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_at_the_target_value_and_gradient_are_zero(margin: float) -> None:
    embeddings = random_units(4, 0).requires_grad_()
    got = value(embeddings, embeddings.detach().clone(), margin)
    got.backward()
    assert got.item() == 0
    assert embeddings.grad is not None
    assert embeddings.grad.eq(0).all()


def test_very_near_the_target_the_gradient_is_of_unit_length() -> None:
    targets = torch.tensor([[1.0, 0.0]])
    embeddings = torch.tensor([[1.0, 1e-15]]).requires_grad_()
    value(embeddings, targets).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.norm().item() == pytest.approx(1, rel=1e-4)


def test_nearer_than_the_margin_nothing_pulls() -> None:
    embeddings, targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).requires_grad_(), torch.tensor([[0.8, 0.6], [1.0, 0]])
    value(embeddings, targets, margin=1.0).backward()  # distances 0.63 and 1.41
    assert embeddings.grad is not None
    assert embeddings.grad[0].eq(0).all()
    assert embeddings.grad[1].ne(0).all()


def test_unknown_targets_are_left_out() -> None:
    embeddings, targets = with_unknown()
    got = value(embeddings, targets)
    assert got.item() == pytest.approx(by_loops(embeddings.detach()[KNOWN], targets[KNOWN], 0.0), rel=1e-5)
    check_that_only_the_known_are_pulled(got, embeddings)


@pytest.mark.parametrize("known", [0, 1])
def test_hardly_any_known_target_is_finite(known: int) -> None:
    embeddings, targets = random_units(3, 0).requires_grad_(), random_units(3, 1)
    targets[known:] = 0
    got = value(embeddings, targets)
    got.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    expected = by_loops(embeddings.detach()[:1], targets[:1], 0.0) if known else 0.0
    assert got.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.4])
def test_one_batch_can_be_learnt(margin: float) -> None:
    raw, targets = random_units(10, 0).requires_grad_(), random_units(10, 1)
    optimizer = torch.optim.Adam([raw], lr=0.03)
    values = learn(lambda rows: value(rows, targets, margin), raw, optimizer)
    assert values[-1] < 0.1 * values[0]
    assert (F.normalize(raw, dim=1) - targets).norm(dim=1).max().item() < margin + 0.15


def test_it_asks_for_targets_alone() -> None:
    assert L2Regression.needs == {"targets"}
    assert L2RegressionConfig().extra_needs() == frozenset()


@pytest.mark.parametrize(
    ("config", "message"),
    [({"margin": -0.1}, "greater than or equal to 0"), ({"margin": 2}, "less than 2"), ({"margn": 1}, "'margin'")],
)
def test_wrong_settings_are_refused(config: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_objectives({"l2_regression": config})
