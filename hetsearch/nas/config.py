"""The configuration of an architecture search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from hetsearch.config import Config, changed
from hetsearch.models.search_space import SearchSpace
from hetsearch.nas.costs import Budget
from hetsearch.nas.sampling import SamplingConfig
from hetsearch.training.architecture import with_architecture
from hetsearch.training.recipe import Recipe


def _of_the_training(value: dict[str, Any]) -> dict[str, Any]:
    value = _dotted(value)
    for key in value:
        if key.partition(".")[0] not in CHANGEABLE:
            raise ValueError(f"'{key}' has to be the winner's; what may differ: {', '.join(CHANGEABLE)}")
    return value


def _dotted(changes: dict[str, Any]) -> dict[str, Any]:
    """``{"schedule": {"epochs": 3}}``, as YAML and the command line have it, as ``{"schedule.epochs": 3}``.

    A section as a value would take the place of the whole section; of two forms of a key the later counts. Objectives
    are replaced as a whole: one that is not named is not wanted.
    """
    flat: dict[str, Any] = {}
    for key, value in changes.items():
        if isinstance(value, dict) and key.partition(".")[0] != "objectives":
            flat.update(_dotted({f"{key}.{name}": one for name, one in value.items()}))
        else:
            flat[key] = value
    return flat


# The images, the input and the network are one for supernet, finalists and winner.
CHANGEABLE = ("objectives", "batches", "augmentation", "optimizer", "schedule", "precision", "seed")
Changes = Annotated[dict[str, Any], AfterValidator(_of_the_training)]  # {"schedule.epochs": 30}


class SupernetConfig(Config):
    """The training of the supernet: the recipe, with a few keys changed, one path a step."""

    changes: Changes = Field(default_factory=dict)
    sampling: SamplingConfig = SamplingConfig()
    probes: Annotated[int, Field(ge=1)] = 4  # architectures whose mean reward says how well it is trained


class RewardConfig(Config):
    """What an architecture is worth: retrieval on the validation split, with weights from the supernet.

    R1 is homogeneous, M(q, q); R2 heterogeneous, M(q, g); R3 their product. That the paper (arXiv 2105.06047) has
    these three, R3 among them as a product, is remembered and was not confirmed by any source that could be read.
    """

    kind: Literal["R1", "R2", "R3"] = "R3"
    metric: Literal["map", "p@1"] = "map"
    limit: Annotated[int, Field(ge=1)] | None = None  # validation images of each class; None is all
    batches: Annotated[int, Field(ge=1)] = 10  # of training images, to estimate the statistics of each path anew
    batch_size: Annotated[int, Field(ge=2)] = 128


class EvolutionConfig(Config):
    """The evolution, by default a small one; SPOS's is 50 × 20 with 10 parents, 25 + 25 children and mutation 0.1."""

    population: Annotated[int, Field(ge=2)] = 20
    generations: Annotated[int, Field(ge=1)] = 10
    parents: Annotated[int, Field(ge=1)] = 5  # the best of all so far
    mutants: Annotated[int, Field(ge=0)] = 10  # children of one parent, a generation
    crossed: Annotated[int, Field(ge=0)] = 10  # children of two parents, a generation; the rest is drawn anew
    mutation: Annotated[float, Field(gt=0, le=1)] = 0.1  # of each gene

    @model_validator(mode="after")
    def _fits(self) -> EvolutionConfig:
        if self.mutants + self.crossed > self.population:
            raise ValueError(f"mutants + crossed ({self.mutants + self.crossed}) exceed population ({self.population})")
        return self


class ParetoConfig(Config):
    """NSGA-II over MACs and reward: a whole front in one search."""

    population: Annotated[int, Field(ge=4)] = 20
    generations: Annotated[int, Field(ge=1)] = 10
    mutation: Annotated[float, Field(gt=0, le=1)] = 0.1  # of each gene


class FinalConfig(Config):
    """A race of the best few: each is trained from scratch for a short while, and the best of those trainings wins."""

    count: Annotated[int, Field(ge=2)] = 4
    differ: Annotated[int, Field(ge=1)] = 3  # genes between any two: siblings would win or lose together
    changes: Changes = Field(default_factory=lambda: {"schedule.epochs": 2})  # of the winner's recipe


class RateConfig(Config):
    """A learning rate for the winner, from the recipe's on by factors of two, as long as a short training is better."""

    changes: Changes = Field(default_factory=lambda: {"schedule.epochs": 2})  # of the winner's recipe

    @field_validator("changes")
    @classmethod
    def _by_the_winners_optimizer(cls, changes: dict[str, Any]) -> dict[str, Any]:
        for key in changes:
            if key.partition(".")[0] == "optimizer":
                raise ValueError(f"'{key}' has to be the winner's; its trials begin at recipe.optimizer.lr")
        return changes


class SearchConfig(Config):
    """The search."""

    evolution: EvolutionConfig = EvolutionConfig()
    pareto: ParetoConfig | None = None
    final: FinalConfig | None = None
    learning_rate: RateConfig | None = None  # None is the recipe's
    processes: Annotated[int, Field(ge=1)] | None = None  # one thread each; None is one a core
    seed: Annotated[int, Field(ge=0)] = 0


class NasConfig(Config):
    """A whole search, from the supernet to the trained winner."""

    recipe: Recipe  # of the winner; its encoder's architecture is what is searched
    search_space: SearchSpace = SearchSpace()
    supernet: SupernetConfig = SupernetConfig()
    reward: RewardConfig = RewardConfig()
    budget: Budget
    search: SearchConfig = SearchConfig()
    test: str | None = None  # SRC that the winner is evaluated on

    @model_validator(mode="after")
    def _from_scratch(self) -> NasConfig:
        if self.recipe.encoder.initial is not None:
            raise ValueError("recipe.encoder.initial is given, and a search trains networks of its own from scratch")
        return self

    @model_validator(mode="after")
    def _tested_on_others(self) -> NasConfig:
        data = self.recipe.data
        train, validation = _place(data.train), _place(data.validation)
        if train == validation:
            raise ValueError(f"recipe.data.validation: '{data.validation}' is what the search learns from")
        if self.test is not None and _place(self.test) in (train, validation):
            raise ValueError(f"test: '{self.test}' is what the search learns from or chooses by")
        return self

    def supernet_recipe(self) -> Recipe:
        """The recipe of the supernet's training: what is trained is part of it, so a resumed run cannot mix.

        Raises:
            ConfigError: a change names an unknown key.
        """
        arguments = {
            "search_space": self.search_space.model_dump(mode="json"),
            "sampling": self.supernet.sampling.model_dump(mode="json"),
            "budget": self.budget.model_dump(exclude_none=True),
            "probes": self.supernet.probes,
        }
        what = {"encoder.architecture": "supernet", "encoder.arguments": arguments, "encoder.initial": None}
        return changed(self.recipe, {**self.supernet.changes, **what, "select_by": "map", "align": None})

    def final_recipe(self, architecture: str) -> Recipe:
        """The recipe of a finalist's short training.

        Raises:
            ConfigError: a change names an unknown key.
        """
        assert self.search.final is not None  # the caller looked
        return self._short(architecture, self.search.final.changes)

    def rate_recipe(self, architecture: str, rate: float) -> Recipe:
        """The recipe of a short training of the winner at another learning rate.

        Raises:
            ConfigError: a change names an unknown key.
        """
        assert self.search.learning_rate is not None  # the caller looked
        return self._short(architecture, {**self.search.learning_rate.changes, "optimizer.lr": rate})

    def _short(self, architecture: str, changes: dict[str, Any]) -> Recipe:
        # Not aligned: the map would be fitted on the images that decide.
        return changed(self.winner_recipe(architecture), {**changes, "align": None})

    def winner_recipe(self, architecture: str, rate: float | None = None) -> Recipe:
        """The recipe that trains one architecture from scratch, at its own learning rate where one is given."""
        recipe = with_architecture(self.recipe, architecture, self.search_space)
        return recipe if rate is None else changed(recipe, {"optimizer.lr": rate})


def _place(source: str) -> str:
    """A source in one spelling: a path without its detours, a name as it is."""
    path = Path(source)
    return str(path.resolve()) if path.exists() else source
