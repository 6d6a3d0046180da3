import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hetsearch.errors import ConfigError
from hetsearch.objectives import OBJECTIVES, Batch, Classification, Context, Memory, ObjectiveSum, needs_of
from hetsearch.objectives.classification import ClassificationConfig

CLASSES, DIM = 3, 4


def unit(*rows: list[float]) -> torch.Tensor:
    return F.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)


def context(classifier: torch.Tensor | None = None) -> Context:
    if classifier is None:
        return Context(CLASSES, DIM)
    given = batch()
    assert given.targets is not None
    return Context(CLASSES, DIM, classifier, 10.0, classifier, Memory(given.targets, given.labels))


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    embeddings = F.normalize(torch.randn(6, DIM, generator=generator), dim=1)
    targets = F.normalize(torch.randn(6, DIM, generator=generator), dim=1)
    return Batch(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]), targets)


W = unit([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0])
# Settings for vectors as short as these.
SETTINGS: dict[str, dict[str, int]] = {"codebook": {"subspaces": 2}}


def test_frozen_classifier_by_hand() -> None:
    embeddings = unit([1, 0, 0, 0], [0.6, 0.8, 0, 0])
    terms = ObjectiveSum({"frozen_classifier": {}}, context(W))(Batch(embeddings, torch.tensor([0, 0])))
    first = -math.log(math.exp(10) / (math.exp(10) + 2))
    second = -math.log(math.exp(6) / (math.exp(6) + math.exp(8) + 1))
    assert float(terms["loss"]) == pytest.approx((first + second) / 2, rel=1e-5)


def test_a_scale_of_its_own_replaces_the_spaces() -> None:
    terms = ObjectiveSum({"frozen_classifier": {"scale": 2.0}}, context(W))
    value = terms(Batch(unit([1, 0, 0, 0]), torch.tensor([0])))["loss"]
    assert float(value) == pytest.approx(-math.log(math.exp(2) / (math.exp(2) + 2)), rel=1e-5)


def test_the_frozen_classifier_is_not_trained() -> None:
    terms = ObjectiveSum({"frozen_classifier": {}}, context(W))
    assert list(terms.parameters()) == []


def test_classification_by_hand() -> None:
    terms = ObjectiveSum({"classification": {"scale": 5.0}}, context())
    head = terms.terms["classification"]
    assert isinstance(head, Classification)
    with torch.no_grad():
        head.weight.copy_(3 * W)  # the length of a row must not matter
    value = terms(Batch(unit([0, 1, 0, 0]), torch.tensor([1])))["loss"]
    assert value.item() == pytest.approx(-math.log(math.exp(5) / (math.exp(5) + 2)), rel=1e-5)
    np.testing.assert_allclose(head.classifier().detach(), W, atol=1e-6)


def test_a_detached_classifier_learns_and_leaves_the_embeddings_to_the_others() -> None:
    gradients = []
    for detached in (False, True):
        head = Classification(ClassificationConfig(detached=detached), context())
        with torch.no_grad():
            head.weight.copy_(W)
        given = batch()
        given.embeddings.requires_grad_()
        head(given).backward()
        gradients.append((head.weight.grad, given.embeddings.grad))
    (rows, moved), (same, unmoved) = gradients
    assert rows is not None
    assert moved is not None
    assert same is not None
    assert rows.abs().max() > 0.01
    assert moved.abs().max() > 0.01
    torch.testing.assert_close(same, rows)
    assert unmoved is None


def test_cosine_regression_by_hand_leaves_unknown_targets_out() -> None:
    embeddings = unit([1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0])
    targets = torch.cat([unit([1, 0, 0, 0], [0, 0.6, 0.8, 0]), torch.zeros(1, DIM)])
    terms = ObjectiveSum({"cosine_regression": {}}, context())
    value = terms(Batch(embeddings, torch.tensor([0, 1, 2]), targets))["loss"]
    assert float(value) == pytest.approx((0 + 0.4) / 2, abs=1e-6)
    nothing_known = Batch(embeddings, torch.tensor([0, 1, 2]), torch.zeros(3, DIM))
    assert float(terms(nothing_known)["loss"]) == 0


def multi_similarity_by_loops(embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Equations 7, 8 and 15 of the paper, pair by pair, with alpha 2, beta 50, lambda 0.5, epsilon 0.1."""
    similarity = embeddings @ embeddings.T
    losses = []
    for i in range(len(labels)):
        positives = [similarity[i, k] for k in range(len(labels)) if k != i and labels[k] == labels[i]]
        negatives = [similarity[i, k] for k in range(len(labels)) if labels[k] != labels[i]]
        hard_positives = [s for s in positives if s - 0.1 < max(negatives)]
        hard_negatives = [s for s in negatives if s + 0.1 > min(positives)]
        near = math.log(1 + sum(math.exp(-2 * (s - 0.5)) for s in hard_positives)) / 2
        far = math.log(1 + sum(math.exp(50 * (s - 0.5)) for s in hard_negatives)) / 50
        losses.append(near + far)  # log 1 and log 1 of an anchor without mined pairs
    return sum(losses) / len(losses)


def test_multi_similarity_is_the_papers() -> None:
    given = batch()
    # Two easy classes, whose four images mine no pair, before the same six images in other dimensions.
    easy = torch.eye(DIM + 2)[[0, 0, 1, 1]]
    embeddings = torch.cat([easy, F.pad(given.embeddings, (2, 0))])
    labels = torch.cat([torch.tensor([3, 3, 4, 4]), given.labels])
    value = ObjectiveSum({"multi_similarity": {}}, context())(Batch(embeddings, labels))["loss"]
    expected = multi_similarity_by_loops(embeddings.double().numpy(), labels.numpy())
    assert float(value) == pytest.approx(expected, rel=1e-4)
    alone = ObjectiveSum({"multi_similarity": {}}, context())(given)["loss"]
    assert float(alone) == pytest.approx(
        multi_similarity_by_loops(given.embeddings.double().numpy(), given.labels.numpy()), rel=1e-4
    )
    assert float(value) != pytest.approx(float(alone), rel=0.01)


def test_terms_are_added_by_weight() -> None:
    terms = ObjectiveSum(
        {"frozen_classifier": {"weight": 2.0}, "cosine_regression": {"weight": 0.5}, "multi_similarity": {"weight": 0}},
        context(W),
    )(batch())
    assert set(terms) == {"loss", "frozen_classifier", "cosine_regression"}
    expected = 2 * terms["frozen_classifier"] + 0.5 * terms["cosine_regression"]
    assert float(terms["loss"]) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_gradient_descent_on_one_batch_lowers_every_objective(name: str) -> None:
    torch.manual_seed(0)
    given = batch()
    raw = given.embeddings.clone().requires_grad_()
    terms = ObjectiveSum({name: SETTINGS.get(name, {})}, context(W))
    optimizer = torch.optim.SGD([raw, *terms.parameters()], lr=0.1)
    values = []
    for _ in range(60):
        loss = terms(Batch(F.normalize(raw, dim=1), given.labels, given.targets))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.8 * values[0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"frozen_clasifier": {}}, "Did you mean 'frozen_classifier'"),
        ({"classification": {"scal": 3}}, "Did you mean 'scale'"),
        ({"classification": {"scale": -1}}, "greater than 0"),
        ({"classification": {"weight": -1}}, "greater than or equal to 0"),
        ({"classification": {"weight": float("nan")}}, "finite"),
        ({"classification": {"scale": float("inf")}}, "finite"),
        ({"multi_similarity": {"base": float("nan")}}, "finite"),
        ({"classification": {"detached": True}}, "learns from none of the objectives.*a detached classification"),
        ({}, "at least one objective"),
        ({"classification": {"weight": 0}}, "at least one objective"),
        ({"classification": {"weight": 0}, "multi_similarity": {"weight": 0}}, "only weights of 0"),
    ],
)
def test_wrong_objectives_are_refused(config: dict[str, dict[str, float]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ObjectiveSum(config, context())


def test_what_is_needed_is_said_with_who_needs_it() -> None:
    assert needs_of({"frozen_classifier": {}, "multi_similarity": {}, "cosine_regression": {"weight": 0}}) == {
        "classes": "multi_similarity",
        "classifier": "frozen_classifier",
        "known classes": "frozen_classifier",
        "labels": "frozen_classifier",
        "positives": "multi_similarity",
    }
    assert "memory" in needs_of({"frozen_classifier": {"missing": "pseudo"}})
    assert "known classes" not in needs_of({"frozen_classifier": {"missing": "drop"}})


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_reads_only_what_it_needs(name: str) -> None:
    given, needs = batch(), needs_of({name: {}})
    torch.manual_seed(0)
    terms = ObjectiveSum({name: SETTINGS.get(name, {})}, context(W))
    labels = given.labels if "labels" in needs else torch.full_like(given.labels, -1)
    targets = given.targets if "targets" in needs else None
    value = terms(Batch(given.embeddings, labels, targets))["loss"]
    assert torch.equal(value, terms(given)["loss"])
