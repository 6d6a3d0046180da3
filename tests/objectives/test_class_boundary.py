import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hetsearch.errors import ConfigError
from hetsearch.objectives.base import Batch, Context, Memory
from hetsearch.objectives.class_boundary import ClassBoundary, ClassBoundaryConfig, class_boundaries
from tests.objectives.made import learn

DIM = 4
W = torch.eye(4)[:3]


def at(*cosines: float, axis: int = 0) -> torch.Tensor:
    """Unit rows with these cosines to one axis; what remains goes to the last one."""
    rows = torch.zeros(len(cosines), DIM)
    rows[:, axis] = torch.tensor(cosines)
    rows[:, 3] = (1 - rows[:, axis] ** 2).sqrt()
    return rows


def boundary_of(memory: Memory, classifier: torch.Tensor = W, **settings: float) -> ClassBoundary:
    context = Context(len(classifier), classifier.shape[1], classifier, 10.0, memory=memory)
    return ClassBoundary(ClassBoundaryConfig.model_validate(settings), context)


MEMORY = Memory(torch.cat([at(0.9, 0.5, 0.7), at(0.8, axis=1)]), torch.tensor([0, 0, 0, 1]))


@pytest.mark.parametrize(("quantile", "boundary"), [(0.0, 0.5), (0.5, 0.7), (0.25, 0.6), (1.0, 0.9)])
def test_by_hand(quantile: float, boundary: float) -> None:
    term = boundary_of(MEMORY, quantile=quantile)
    value = term(Batch(torch.cat([at(0.3, 0.95), at(0.5, axis=1)]), torch.tensor([0, 0, 1])))
    assert value.item() == pytest.approx((boundary - 0.3 + 0 + 0.3) / 3, rel=1e-5)


def random_case() -> tuple[Memory, torch.Tensor, Batch]:
    generator = torch.Generator().manual_seed(0)
    vectors, embeddings = (F.normalize(torch.randn(n, 6, generator=generator), dim=1) for n in (80, 20))
    classifier = F.normalize(torch.randn(5, 6, generator=generator), dim=1)
    classifier[2] = 0
    labels = torch.randint(0, 4, (80,), generator=generator)  # class 4 has no embedding
    return Memory(vectors, labels), classifier, Batch(embeddings, torch.arange(20) % 5)


def test_equals_plain_loops() -> None:
    memory, classifier, batch = random_case()
    value = boundary_of(memory, classifier, quantile=0.3)(batch)
    assert memory.labels is not None
    values = []
    for q, label in zip(batch.embeddings.double().numpy(), batch.labels.tolist(), strict=True):
        row = classifier[label].double().numpy()
        members = memory.vectors[memory.labels == label].double().numpy()
        if row.any() and len(members):
            values.append(max(0.0, float(np.quantile([g @ row for g in members], 0.3) - q @ row)))
    assert len(values) == 12  # classes 2 and 4 are left out
    assert value.item() == pytest.approx(sum(values) / len(values), rel=1e-5)


NOTHING = Memory(torch.zeros(0, DIM), torch.zeros(0, dtype=torch.long))


@pytest.mark.parametrize(
    ("memory", "classifier"),
    [(NOTHING, W), (MEMORY, torch.zeros(3, DIM)), (MEMORY, torch.cat([torch.zeros(2, DIM), W[2:]]))],
)
def test_no_class_with_a_boundary_is_refused(memory: Memory, classifier: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match="no class of the training set has a boundary"):
        boundary_of(memory, classifier)


def test_classes_without_embeddings_are_named() -> None:
    memory, classifier, _ = random_case()
    _, seen = class_boundaries(memory, classifier, 0.1)
    assert seen.tolist() == [True, True, True, True, False]


@pytest.mark.parametrize("label", [2, 4])
def test_a_batch_of_classes_without_boundary_is_zero_with_a_gradient(label: int) -> None:
    memory, classifier, batch = random_case()
    raw = batch.embeddings.clone().requires_grad_()
    value = boundary_of(memory, classifier)(Batch(raw, torch.full((20,), label)))
    value.backward()
    assert value.item() == 0
    assert raw.grad is not None
    assert not raw.grad.any()


def test_one_wrong_image_does_not_silence_its_class_by_default() -> None:
    memory = Memory(at(*[0.9] * 30, -0.2), torch.zeros(31, dtype=torch.long))
    batch = Batch(at(0.5), torch.tensor([0]))
    assert boundary_of(memory)(batch).item() == pytest.approx(0.4, abs=1e-5)
    assert boundary_of(memory, quantile=0.0)(batch).item() == 0


def test_training_on_one_batch_ends_at_the_boundary_and_stops_there() -> None:
    term = boundary_of(MEMORY, quantile=0.0)
    labels = torch.tensor([0, 1, 0, 1])
    raw = F.normalize(torch.randn(4, DIM, generator=torch.Generator().manual_seed(1)), dim=1).requires_grad_()
    optimizer = torch.optim.SGD([raw], lr=0.5)
    values = learn(lambda rows: term(Batch(rows, labels)), raw, optimizer)
    cosines = (F.normalize(raw.detach(), dim=1) * W[labels]).sum(dim=1)
    assert values[0] > 0.1
    assert values[-1] == 0
    assert (cosines >= torch.tensor([0.5, 0.8])[labels] - 1e-6).all()


def test_nothing_is_trained_or_saved() -> None:
    term = boundary_of(MEMORY)
    assert list(term.parameters()) == []
    assert term.state_dict() == {}
