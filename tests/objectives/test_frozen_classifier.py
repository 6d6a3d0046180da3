import math

import pytest
import torch
import torch.nn.functional as F

from hetsearch.config import validate
from hetsearch.errors import ConfigError
from hetsearch.objectives.base import Batch, Context, Memory
from hetsearch.objectives.frozen_classifier import FrozenClassifier, FrozenClassifierConfig, with_pseudo_rows
from tests.objectives.made import learn

DIM = 4
W = torch.eye(4)[:3]


def random_unit(count: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed)), dim=1)


def lacking(*rows: int) -> torch.Tensor:
    classifier = random_unit(5, seed=9)
    classifier[list(rows)] = 0
    return classifier


def frozen(classifier: torch.Tensor = W, memory: Memory | None = None, **settings: object) -> FrozenClassifier:
    config = validate(FrozenClassifierConfig, settings, where="a test")
    return FrozenClassifier(config, Context(len(classifier), DIM, classifier, 10.0, memory=memory))


def by_loops(
    embeddings: torch.Tensor, labels: list[int], classifier: torch.Tensor, *, margin: float, smoothing: float
) -> float:
    """Over the rows that are not zero, image by image, with the scale of 10."""
    rows = {c: row for c, row in enumerate(classifier.double().tolist()) if any(row)}
    losses = []
    for q, y in zip(embeddings.double().tolist(), labels, strict=True):
        if y not in rows:
            continue
        logits = {
            c: 10 * (sum(a * b for a, b in zip(q, row, strict=True)) - margin * (c == y)) for c, row in rows.items()
        }
        total = math.log(sum(math.exp(logit) for logit in logits.values()))
        wanted = {c: (1 - smoothing) * (c == y) + smoothing / len(rows) for c in rows}
        losses.append(-sum(wanted[c] * (logits[c] - total) for c in rows))
    return sum(losses) / len(losses)


def test_margin_by_hand() -> None:
    value = frozen(margin=0.2)(Batch(torch.tensor([[0.6, 0.8, 0, 0]]), torch.tensor([0])))
    expected = -math.log(math.exp(4) / (math.exp(4) + math.exp(8) + 1))
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("margin", [0.0, 0.35])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gone", [(), (1,), (0, 4)])
def test_equals_plain_loops_without_the_missing_classes(margin: float, smoothing: float, gone: tuple[int]) -> None:
    classifier, embeddings, labels = lacking(*gone), random_unit(10), torch.arange(10) % 5
    value = frozen(classifier, margin=margin, label_smoothing=smoothing, missing="drop")(Batch(embeddings, labels))
    expected = by_loops(embeddings, labels.tolist(), classifier, margin=margin, smoothing=smoothing)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_rows_of_classes_that_are_not_trained_on_are_negatives() -> None:
    whole, embeddings, labels = random_unit(5, seed=9), random_unit(10), torch.arange(10) % 2
    context = Context(2, DIM, whole[[3, 1]], 10.0, whole, other_rows=whole[[0, 2, 4]])
    config = validate(FrozenClassifierConfig, {"margin": 0.2}, where="a test")
    value = FrozenClassifier(config, context)(Batch(embeddings, labels))
    rows = [3 - 2 * label for label in labels.tolist()]  # of all five
    assert value.item() == pytest.approx(by_loops(embeddings, rows, whole, margin=0.2, smoothing=0.0), rel=1e-5)


def test_a_batch_of_missing_classes_is_zero_with_a_gradient() -> None:
    raw = random_unit(4).requires_grad_()
    value = frozen(lacking(0, 1), missing="drop", margin=0.1)(Batch(raw, torch.tensor([0, 1, 1, 0])))
    value.backward()
    assert value.item() == 0
    assert raw.grad is not None
    assert not raw.grad.any()


def test_pseudo_rows_are_normalised_means_of_missing_classes_alone() -> None:
    vectors, labels = random_unit(30, seed=3), torch.arange(30) % 5
    classifier = lacking(1, 3)
    rows = with_pseudo_rows(classifier, Memory(vectors, labels))
    for label in range(5):
        members = [vectors[i].double() for i in range(30) if labels[i] == label]
        mean = sum(members, torch.zeros(DIM, dtype=torch.float64)) / len(members)
        expected = mean / mean.norm() if label in (1, 3) else classifier[label].double()
        assert torch.allclose(rows[label].double(), expected, atol=1e-6)


def test_pseudo_is_the_loss_through_the_completed_classifier() -> None:
    memory = Memory(random_unit(30, seed=3), torch.arange(30) % 5)
    classifier, batch = lacking(1, 3), Batch(random_unit(10), torch.arange(10) % 5)
    value = frozen(classifier, memory, missing="pseudo")(batch)
    assert value.item() == pytest.approx(frozen(with_pseudo_rows(classifier, memory))(batch).item(), rel=1e-6)


def test_a_class_with_neither_row_nor_embedding_is_refused() -> None:
    memory = Memory(random_unit(6), torch.tensor([0, 0, 1, 1, 4, 4]))
    with pytest.raises(ConfigError, match=r"neither a row .* observed 2 of 5 classes.*data\.regress"):
        frozen(lacking(1, 2, 3), memory, missing="pseudo")


@pytest.mark.parametrize(
    ("missing", "needs"), [("refuse", {"known classes"}), ("drop", {"some classes"}), ("pseudo", {"memory"})]
)
def test_needs(missing: str, needs: set[str]) -> None:
    config = FrozenClassifierConfig.model_validate({"missing": missing})
    assert config.extra_needs() == needs
    assert FrozenClassifier.needs == {"labels", "classifier"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": -0.1}, "greater than or equal to 0"),
        ({"margin": float("nan")}, "'margin' in a test is wrong"),
        ({"margin": 1.5}, "less than or equal to 1"),
        ({"missing": "ignore"}, "'refuse', 'drop' or 'pseudo'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        frozen(**settings)


def test_training_on_one_batch_with_a_margin_goes_beyond_the_margin() -> None:
    raw, labels = random_unit(6, seed=2).requires_grad_(), torch.arange(6) % 3
    term = frozen(margin=0.3)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    values = learn(lambda rows: term(Batch(rows, labels)), raw, optimizer)
    cosines = F.normalize(raw.detach(), dim=1) @ W.T
    own = cosines.gather(1, labels[:, None])
    others = cosines.masked_fill(F.one_hot(labels, 3).bool(), -1).max(dim=1, keepdim=True).values
    assert values[-1] < 0.05 * values[0]
    assert (own - others > 0.3).all()
