"""What a training minimises: one objective a file, added up by weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hetsearch.config import validate
from hetsearch.errors import ConfigError, nearest
from hetsearch.objectives.base import (
    CLASSES,
    CLASSIFIER,
    KNOWN_CLASSES,
    LABELS,
    MEMORY,
    POSITIVES,
    SOME_CLASSES,
    TARGETS,
    Batch,
    Context,
    Memory,
    Objective,
    Weighted,
)
from hetsearch.objectives.class_boundary import ClassBoundary, ClassBoundaryConfig
from hetsearch.objectives.classification import Classification, ClassificationConfig
from hetsearch.objectives.codebook import Codebook, CodebookConfig
from hetsearch.objectives.contextual import Contextual, ContextualConfig
from hetsearch.objectives.cosine_regression import CosineRegression, CosineRegressionConfig
from hetsearch.objectives.cross_contrastive import CrossContrastive, CrossContrastiveConfig
from hetsearch.objectives.d3still import D3still, D3stillConfig
from hetsearch.objectives.frozen_classifier import FrozenClassifier, FrozenClassifierConfig
from hetsearch.objectives.l2_regression import L2Regression, L2RegressionConfig
from hetsearch.objectives.multi_similarity import MultiSimilarity, MultiSimilarityConfig
from hetsearch.objectives.similarity import Similarity, SimilarityConfig
from hetsearch.objectives.soft_labels import SoftLabels, SoftLabelsConfig

__all__ = [
    "CLASSES",
    "CLASSIFIER",
    "KNOWN_CLASSES",
    "LABELS",
    "MEMORY",
    "OBJECTIVES",
    "POSITIVES",
    "SOME_CLASSES",
    "TARGETS",
    "Batch",
    "Classification",
    "Context",
    "Memory",
    "Objective",
    "ObjectiveSum",
    "check_objectives",
    "needs_of",
]

OBJECTIVES: dict[str, tuple[type[Weighted], Any]] = {  # name → its configuration, and its module (an Objective)
    "classification": (ClassificationConfig, Classification),
    "frozen_classifier": (FrozenClassifierConfig, FrozenClassifier),
    "multi_similarity": (MultiSimilarityConfig, MultiSimilarity),
    "cosine_regression": (CosineRegressionConfig, CosineRegression),
    "l2_regression": (L2RegressionConfig, L2Regression),
    "soft_labels": (SoftLabelsConfig, SoftLabels),
    "similarity": (SimilarityConfig, Similarity),
    "contextual": (ContextualConfig, Contextual),
    "d3still": (D3stillConfig, D3still),
    "codebook": (CodebookConfig, Codebook),
    "class_boundary": (ClassBoundaryConfig, ClassBoundary),
    "cross_contrastive": (CrossContrastiveConfig, CrossContrastive),
}


class ObjectiveSum(nn.Module):
    """The weighted sum of some objectives.

    Args:
        config: name in :data:`OBJECTIVES` → its configuration (``{"weight": 0.5}``).
        context: what the objectives may know.
    """

    def __init__(self, config: Mapping[str, Mapping[str, Any]], context: Context) -> None:
        super().__init__()
        checked = check_objectives(config)
        self.weights = {name: terms.weight for name, terms in checked.items()}
        self.terms = nn.ModuleDict({name: OBJECTIVES[name][1](terms, context) for name, terms in checked.items()})

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Each term by name, unweighted, and ``loss``, their weighted sum."""
        values = {name: term(batch) for name, term in self.terms.items()}
        weighted = [self.weights[name] * value for name, value in values.items()]
        return {"loss": sum(weighted[1:], weighted[0]), **values}


def check_objectives(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Weighted]:
    """Validate the objectives of a configuration; a weight of 0 leaves the objective out.

    Raises:
        ConfigError: an unknown objective or key, no objective with a weight, or none that the network learns from.
    """
    checked = {}
    for name, terms in config.items():
        if name not in OBJECTIVES:
            raise ConfigError(f"unknown objective '{name}'", hint=nearest(name, OBJECTIVES))
        value = validate(OBJECTIVES[name][0], terms or {}, where=f"the objective '{name}'")
        if value.weight:
            checked[name] = value
    if not checked:
        raise ConfigError(
            "a training needs at least one objective",
            observed="only weights of 0" if config else "none",
            hint=f"Known: {', '.join(OBJECTIVES)}.",
        )
    if not any(value.trains_network() for value in checked.values()):
        raise ConfigError(
            "the network learns from none of the objectives",
            observed=f"only a detached {', '.join(checked)}",
            hint="Set objectives.classification.detached to false, or add an objective.",
        )
    return checked


def needs_of(config: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What the objectives of a configuration need of the training, each with the first objective that needs it."""
    found: dict[str, str] = {}
    for name, terms in check_objectives(config).items():
        for need in sorted(OBJECTIVES[name][1].needs | terms.extra_needs()):
            found.setdefault(need, name)
    return found
