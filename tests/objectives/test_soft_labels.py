import math

import pytest
import torch
import torch.nn.functional as F

from hetsearch.errors import ConfigError
from hetsearch.objectives import Batch, Context, check_objectives
from hetsearch.objectives.soft_labels import SoftLabels, SoftLabelsConfig
from tests.objectives.made import KNOWN, check_that_only_the_known_are_pulled, learn, random_units, with_unknown

DIM, CLASSES = 8, 5


W = random_units(CLASSES, seed=2)


def objective(classifier: torch.Tensor = W, space_scale: float | None = 6.0, **config: float) -> SoftLabels:
    context = Context(3, classifier.shape[1], scale=space_scale, space_classifier=classifier)
    return SoftLabels(SoftLabelsConfig(**config), context)


def value(term: SoftLabels, embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return term(Batch(embeddings, torch.full((len(embeddings),), -1), targets))


def by_loops(embeddings: torch.Tensor, targets: torch.Tensor, factor: float) -> float:
    total = 0.0
    for q, g in zip(embeddings.double().tolist(), targets.double().tolist(), strict=True):
        logits = [[factor * sum(a * b for a, b in zip(row, v, strict=True)) for row in W.tolist()] for v in (g, q)]
        p, s = ([math.exp(x) / sum(map(math.exp, side)) for x in side] for side in logits)
        total += sum(a * math.log(a / b) for a, b in zip(p, s, strict=True))
    return total / len(embeddings)


@pytest.mark.parametrize(
    ("space_scale", "config"), [(2.0, {}), (7.0, {"scale": 2.0}), (4.0, {"temperature": 2.0}), (None, {"scale": 2.0})]
)
def test_by_hand(space_scale: float | None, config: dict[str, float]) -> None:
    # Gallery logits (0, 2), query logits (2, 0): the divergence is 2 · (p₂ − p₁) = 2 · tanh(1).
    term = objective(torch.eye(2), space_scale, **config)
    got = value(term, torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert got.item() == pytest.approx(2 * math.tanh(1), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_equals_the_slow_reference(temperature: float) -> None:
    embeddings, targets = random_units(7, 0), random_units(7, 1)
    got = value(objective(temperature=temperature), embeddings, targets)
    assert got.item() == pytest.approx(by_loops(embeddings, targets, 6.0 / temperature), rel=1e-4)


def test_nothing_is_lost_at_the_target() -> None:
    embeddings = random_units(4, 0)
    assert value(objective(), embeddings, embeddings.clone()).item() == pytest.approx(0, abs=1e-6)


def test_all_of_the_spaces_classes_count_and_not_only_the_training_sets() -> None:
    context = Context(2, DIM, classifier=W[:2], scale=6.0, space_classifier=W)
    embeddings, targets = random_units(4, 0), random_units(4, 1)
    got = value(SoftLabels(SoftLabelsConfig(), context), embeddings, targets)
    assert got.item() == pytest.approx(by_loops(embeddings, targets, 6.0), rel=1e-4)


def test_unknown_targets_are_left_out() -> None:
    embeddings, targets = with_unknown()
    got = value(objective(), embeddings, targets)
    assert got.item() == pytest.approx(by_loops(embeddings.detach()[KNOWN], targets[KNOWN], 6.0), rel=1e-4)
    check_that_only_the_known_are_pulled(got, embeddings)


@pytest.mark.parametrize("known", [0, 1])
def test_hardly_any_known_target_is_finite(known: int) -> None:
    embeddings, targets = random_units(3, 0).requires_grad_(), random_units(3, 1)
    targets[known:] = 0
    got = value(objective(), embeddings, targets)
    got.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    expected = by_loops(embeddings.detach()[:1], targets[:1], 6.0) if known else 0.0
    assert got.item() == pytest.approx(expected, rel=1e-4)


def test_a_sharp_scale_stays_finite() -> None:
    embeddings = F.normalize(torch.tensor([[1.0, 0.0]]), dim=1).requires_grad_()
    got = value(objective(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), scale=1000.0), embeddings, torch.tensor([[-1.0, 0]]))
    got.backward()
    assert got.item() == pytest.approx(2000.0)
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def test_one_batch_can_be_learnt() -> None:
    raw, targets = random_units(10, 0).requires_grad_(), random_units(10, 1)
    term, optimizer = objective(), torch.optim.Adam([raw], lr=0.05)
    before = F.cosine_similarity(raw, targets).mean().item()
    values = learn(lambda rows: value(term, rows, targets), raw, optimizer)
    assert values[-1] < 0.05 * values[0]
    assert F.cosine_similarity(raw, targets).mean().item() > before + 0.3


def test_the_classifier_is_neither_trained_nor_stored() -> None:
    term = objective()
    assert list(term.parameters()) == []
    assert term.state_dict() == {}


def test_it_asks_for_targets_and_a_classifier_but_no_labels() -> None:
    assert SoftLabels.needs == {"targets", "classifier"}
    assert SoftLabelsConfig().extra_needs() == frozenset()


@pytest.mark.parametrize(
    ("config", "message"),
    [({"temperature": 0}, "greater than 0"), ({"scale": float("inf")}, "finite"), ({"temprature": 2}, "'temperature'")],
)
def test_wrong_settings_are_refused(config: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_objectives({"soft_labels": config})
