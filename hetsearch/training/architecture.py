"""A recipe for one architecture of a search space: ``hetsearch train query --arch STRING``."""

from __future__ import annotations

from hetsearch.config import changed, validate
from hetsearch.models.choice_network import ChoiceArguments
from hetsearch.models.search_space import SearchSpace, parse, positions_of, spell
from hetsearch.training.recipe import Recipe


def with_architecture(recipe: Recipe, architecture: str, space: SearchSpace | None = None) -> Recipe:
    """The recipe with another network; the search space is written out, since defaults may change.

    Args:
        recipe: the rest of it.
        architecture: the string.
        space: its search space; None: the recipe's, if its architecture is ``choice`` and names one, else the default.

    Raises:
        ConfigError: the architecture is not in the search space.
    """
    of_recipe = recipe.encoder.arguments if recipe.encoder.architecture == "choice" else {}
    given = of_recipe if space is None else {"search_space": space.model_dump(mode="json")}
    arguments = validate(ChoiceArguments, {**given, "arch": architecture}, where="the arguments of 'choice'")
    positions = positions_of(arguments.search_space, recipe.input.channels)
    document = {**arguments.model_dump(mode="json"), "arch": spell(parse(architecture, positions))}
    return changed(recipe, {"encoder.architecture": "choice", "encoder.arguments": document})
