import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from hetsearch.errors import ConfigError
from hetsearch.objectives import Batch, Context, Memory, check_objectives, needs_of
from hetsearch.objectives.contextual import Contextual, ContextualConfig
from tests.objectives.made import DIM, KNOWN, check_that_only_the_known_are_pulled, learn, random_units, with_unknown

MEMORY = random_units(30, seed=2)


def objective(memory: torch.Tensor | None = None, **config: Any) -> Contextual:
    anchors = "batch" if memory is None else "memory"
    held = None if memory is None else Memory(memory)
    return Contextual(ContextualConfig(anchors=anchors, **config), Context(3, DIM, memory=held))


def value(term: Contextual, embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return term(Batch(embeddings, torch.full((len(embeddings),), -1), targets))


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def divergence(q: list[float], g: list[float], others: list[list[float]], k: int, tau_g: float, tau_q: float) -> float:
    """Of one image, over its target and the ``k - 1`` of ``others`` nearest to it."""
    anchors = [g, *sorted(others, key=lambda other: -dot(g, other))[: k - 1]]
    p, s = softmax([dot(g, a) / tau_g for a in anchors]), softmax([dot(q, a) / tau_q for a in anchors])
    return sum(a * math.log(a / b) for a, b in zip(p, s, strict=True) if a > 0)


def by_loops(
    embeddings: torch.Tensor,
    targets: torch.Tensor,
    memory: torch.Tensor | None = None,
    k: int = 1000,
    tau_g: float = 0.01,
    tau_q: float = 0.1,
) -> float:
    """Others are the other targets of the batch, or what in the memory is not the target itself."""
    q, g = embeddings.double().tolist(), targets.double().tolist()
    total = 0.0
    for i in range(len(q)):
        if memory is None:
            others = [g[j] for j in range(len(g)) if j != i]
        else:
            others = [vector for vector in memory.double().tolist() if vector != g[i]]
        total += divergence(q[i], g[i], others, k, tau_g, tau_q)
    return total / len(q)


def test_by_hand_in_the_batch() -> None:
    # For each of the two images p = softmax(2, 0) and s = softmax(0, 2) over (its own target, the other's).
    targets = torch.eye(2)
    got = value(objective(tau_g=0.5, tau_q=0.5), targets.flip(0), targets)
    assert got.item() == pytest.approx(2 * math.tanh(1), rel=1e-5)


@pytest.mark.parametrize("stored", [True, False])
def test_by_hand_in_the_memory(stored: bool) -> None:
    # Whether the target lies in the memory or not, it is an anchor once; the one nearest beside it is (0, 1).
    memory = torch.tensor([[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])[: 3 if stored else 2]
    term = objective(memory, neighbours=2, tau_g=0.5, tau_q=0.5)
    got = value(term, torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))
    assert got.item() == pytest.approx(2 * math.tanh(1), rel=1e-5)


@pytest.mark.parametrize(
    "config",
    [{}, {"tau_q": 1.0}, {"neighbours": 4}, {"neighbours": 4, "tau_g": 0.1}, {"neighbours": 9}, {"neighbours": 50}],
)
def test_equals_the_slow_reference_in_the_batch(config: dict[str, Any]) -> None:
    embeddings, targets = random_units(9, 0), random_units(9, 1)
    expected = by_loops(
        embeddings, targets, None, config.get("neighbours", 9), config.get("tau_g", 0.01), config.get("tau_q", 0.1)
    )
    assert value(objective(**config), embeddings, targets).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("k", [2, 7, 29])
def test_equals_the_slow_reference_in_the_memory(k: int) -> None:
    embeddings = random_units(8, 0)
    targets = torch.cat([random_units(4, 1), MEMORY[5:9]])  # four views that are not stored, and four that are
    got = value(objective(MEMORY, neighbours=k), embeddings, targets)
    assert got.item() == pytest.approx(by_loops(embeddings, targets, MEMORY, k), rel=1e-4)


def test_of_the_memory_64_are_taken_unless_told() -> None:
    memory, embeddings, targets = random_units(80, 5), random_units(4, 0), random_units(4, 1)
    settings = {"tau_g": 1.0, "tau_q": 0.5}  # soft enough for the last anchor to be felt
    got = value(objective(memory, **settings), embeddings, targets).item()
    assert got == pytest.approx(by_loops(embeddings, targets, memory, 64, 1.0, 0.5), rel=1e-4)
    assert got != pytest.approx(by_loops(embeddings, targets, memory, 65, 1.0, 0.5), rel=1e-4)


def test_among_equal_targets_each_is_its_own_anchor_first() -> None:
    targets = random_units(1, 1).repeat(3, 1)
    embeddings = random_units(3, 0).requires_grad_()
    got = value(objective(neighbours=2), embeddings, targets)
    got.backward()
    assert got.item() == pytest.approx(0, abs=1e-6)  # two equal anchors: half and half, whatever q is
    assert embeddings.grad is not None
    assert embeddings.grad.abs().max().item() < 1e-5


@pytest.mark.parametrize("memory", [None, MEMORY])
def test_with_equal_temperatures_nothing_is_lost_at_the_target(memory: torch.Tensor | None) -> None:
    embeddings = random_units(5, 0).requires_grad_()
    got = value(objective(memory, tau_g=0.1, tau_q=0.1), embeddings, embeddings.detach().clone())
    got.backward()
    assert got.item() == pytest.approx(0, abs=1e-6)
    assert embeddings.grad is not None
    assert embeddings.grad.abs().max().item() < 1e-5


@pytest.mark.parametrize("memory", [None, MEMORY])
def test_unknown_targets_are_left_out(memory: torch.Tensor | None) -> None:
    embeddings, targets = with_unknown()
    got = value(objective(memory, neighbours=5), embeddings, targets)
    assert got.item() == pytest.approx(by_loops(embeddings.detach()[KNOWN], targets[KNOWN], memory, 5), rel=1e-4)
    check_that_only_the_known_are_pulled(got, embeddings)


@pytest.mark.parametrize("memory", [None, MEMORY, MEMORY[:1], MEMORY[:0]])
@pytest.mark.parametrize("known", [0, 1])
def test_hardly_any_known_target_is_finite(memory: torch.Tensor | None, known: int) -> None:
    embeddings, targets = random_units(3, 0).requires_grad_(), random_units(3, 1)
    targets[known:] = 0
    got = value(objective(memory), embeddings, targets)
    got.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    alone = memory is None or len(memory) < 2 or known == 0
    expected = 0.0 if alone else by_loops(embeddings.detach()[:1], targets[:1], MEMORY, len(MEMORY))
    assert got.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("memory", [None, MEMORY])
def test_one_batch_can_be_learnt(memory: torch.Tensor | None) -> None:
    raw, targets = random_units(16, 0).requires_grad_(), random_units(16, 1)
    term, optimizer = objective(memory), torch.optim.Adam([raw], lr=0.05)
    before = F.cosine_similarity(raw, targets).mean().item()
    values = learn(lambda rows: value(term, rows, targets), raw, optimizer)
    assert values[-1] < 0.2 * values[0]
    assert F.cosine_similarity(raw, targets).mean().item() > max(before + 0.3, 0.7)


def test_the_memory_is_neither_trained_nor_stored() -> None:
    term = objective(MEMORY)
    assert list(term.parameters()) == []
    assert term.state_dict() == {}


def test_it_asks_for_the_memory_only_where_anchors_come_from_it() -> None:
    assert set(needs_of({"contextual": {}})) == {"targets"}
    assert set(needs_of({"contextual": {"anchors": "memory"}})) == {"targets", "memory"}


def test_anchors_from_the_batch_leave_a_memory_alone() -> None:
    term = Contextual(ContextualConfig(), Context(3, DIM, memory=Memory(MEMORY)))
    assert term.memory is None


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"anchors": "bank"}, "'batch' or 'memory'"),
        ({"neighbours": 1}, "greater than or equal to 2"),
        ({"tau_q": 0}, "greater than 0"),
        ({"tau": 0.1}, "'tau_[gq]'"),
    ],
)
def test_wrong_settings_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_objectives({"contextual": config})
