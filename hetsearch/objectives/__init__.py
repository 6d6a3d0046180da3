"""What a training minimises: one objective a file, added up by weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from hetsearch.config import validate
from hetsearch.errors import ConfigError, nearest
from hetsearch.objectives.base import Batch, Context, Objective, Weighted
from hetsearch.objectives.classification import Classification, ClassificationConfig
from hetsearch.objectives.cosine_regression import CosineRegression, CosineRegressionConfig
from hetsearch.objectives.frozen_classifier import FrozenClassifier, FrozenClassifierConfig
from hetsearch.objectives.multi_similarity import MultiSimilarity, MultiSimilarityConfig

__all__ = ["OBJECTIVES", "Batch", "Classification", "Context", "Objective", "ObjectiveSum", "check_objectives"]

OBJECTIVES: dict[str, tuple[type[Weighted], Callable[..., nn.Module]]] = {
    "classification": (ClassificationConfig, Classification),
    "frozen_classifier": (FrozenClassifierConfig, FrozenClassifier),
    "multi_similarity": (MultiSimilarityConfig, MultiSimilarity),
    "cosine_regression": (CosineRegressionConfig, CosineRegression),
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
        ConfigError: an unknown objective or key, or no objective at all.
    """
    checked = {}
    for name, terms in config.items():
        if name not in OBJECTIVES:
            raise ConfigError(f"unknown objective '{name}'", hint=nearest(name, OBJECTIVES))
        value = validate(OBJECTIVES[name][0], terms or {}, where=f"the objective '{name}'")
        if value.weight:
            checked[name] = value
    if not checked:
        raise ConfigError("a training needs at least one objective", hint=f"Known: {', '.join(OBJECTIVES)}.")
    return checked
