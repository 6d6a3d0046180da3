import math

import pytest
import torch
import torch.nn.functional as F

from hetsearch.objectives.base import Batch, Context
from hetsearch.objectives.cross_contrastive import CrossContrastive, CrossContrastiveConfig

DIM = 5


def term_of(**settings: float) -> CrossContrastive:
    return CrossContrastive(CrossContrastiveConfig.model_validate(settings), Context(3, DIM))


def random_batch(known: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(0)
    embeddings, targets = (F.normalize(torch.randn(6, DIM, generator=generator), dim=1) for _ in range(2))
    targets[known:] = 0
    return Batch(embeddings, torch.tensor([0, 1, 0, 2, 1, 0]), targets)


def by_loops(batch: Batch, tau: float) -> float:
    assert batch.targets is not None
    q, g, y = batch.embeddings.double().tolist(), batch.targets.double().tolist(), batch.labels.tolist()
    known = [i for i in range(len(g)) if any(g[i])]

    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    losses = []
    for i in known:
        total = sum(math.exp(dot(q[i], g[j]) / tau) for j in known)
        positives = [j for j in known if y[j] == y[i]]
        gains = [
            (1 + dot(g[i], g[j])) / 2 * math.log(math.exp(dot(q[i], g[j]) / tau) / total) for j in positives
        ]
        losses.append(-sum(gains) / len(positives))
    return sum(losses) / len(losses)


def test_by_hand() -> None:
    embeddings = torch.tensor([[1.0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0]])
    targets = torch.tensor([[0.6, 0.8, 0, 0, 0], [0.0, 0, 1.0, 0, 0]])
    value = term_of(tau=0.5)(Batch(embeddings, torch.tensor([1, 1]), targets))
    # Both images are positives of each other with w = 1/2; their softmax is over (1.2, 0) and (1.6, 0).
    first = -(math.log(math.exp(1.2) / (math.exp(1.2) + 1)) + 0.5 * math.log(1 / (math.exp(1.2) + 1))) / 2
    second = -(0.5 * math.log(math.exp(1.6) / (math.exp(1.6) + 1)) + math.log(1 / (math.exp(1.6) + 1))) / 2
    assert value.item() == pytest.approx((first + second) / 2, rel=1e-5)


@pytest.mark.parametrize("known", [6, 4, 2])
@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_equals_plain_loops(known: int, tau: float) -> None:
    batch = random_batch(known)
    assert term_of(tau=tau)(batch).item() == pytest.approx(by_loops(batch, tau), rel=1e-4)


@pytest.mark.parametrize("known", [0, 1])
def test_with_at_most_one_known_target_there_is_nothing_to_contrast(known: int) -> None:
    batch = random_batch(known)
    raw = batch.embeddings.clone().requires_grad_()
    value = term_of()(Batch(raw, batch.labels, batch.targets))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


def test_unknown_targets_get_no_gradient() -> None:
    batch = random_batch(4)
    raw = batch.embeddings.clone().requires_grad_()
    term_of()(Batch(raw, batch.labels, batch.targets)).backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    assert raw.grad[:4].abs().sum(dim=1).min() > 0
    assert not raw.grad[4:].any()


def test_the_smallest_temperature_is_finite() -> None:
    batch = random_batch(3)
    raw = batch.embeddings.clone().requires_grad_()
    value = term_of(tau=0.001)(Batch(raw, batch.labels, batch.targets))
    value.backward()
    assert value.isfinite()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


def test_training_on_one_batch_brings_embeddings_to_the_targets_of_their_class() -> None:
    batch = random_batch()
    assert batch.targets is not None
    raw = batch.embeddings.clone().requires_grad_()
    term = term_of()
    optimizer = torch.optim.Adam([raw], lr=0.05)
    values, shares = [], []
    same = batch.labels[:, None] == batch.labels
    for _ in range(100):
        embeddings = F.normalize(raw, dim=1)
        loss = term(Batch(embeddings, batch.labels, batch.targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
        cosines = embeddings.detach() @ batch.targets.T
        shares.append((cosines[same].mean() - cosines[~same].mean()).item())
    assert values[-1] < 0.5 * values[0]
    assert shares[-1] > shares[0] + 0.5
