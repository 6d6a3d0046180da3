"""The folder of a trained supernet: ``supernet.json`` and ``model.safetensors``, beside its checkpoint and log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file

from hetsearch.bundle import WEIGHTS
from hetsearch.config import validate
from hetsearch.errors import ConfigError, DamagedArtifact
from hetsearch.files import read_json, sha256_of, verify_checksums, write_json
from hetsearch.models.network import EncoderNetwork
from hetsearch.models.search_space import SearchSpace
from hetsearch.models.weights import save_weights
from hetsearch.nas.config import NasConfig
from hetsearch.nas.costs import Budget
from hetsearch.nas.supernet import build_supernet
from hetsearch.preprocess import InputSpec
from hetsearch.space import require_space

SCHEMA = 1
CARD = "supernet.json"


class SupernetCard(BaseModel):
    """What ``supernet.json`` says, besides the checksums."""

    model_config = ConfigDict(extra="forbid")

    space: str  # of the embeddings
    dim: int
    input: InputSpec
    search_space: SearchSpace
    recipe: dict[str, Any]
    steps: int
    seconds: float
    validation: dict[str, float] = Field(default_factory=dict)  # mean over probed architectures


def save_supernet(network: EncoderNetwork, card: SupernetCard, folder: Path) -> None:
    """Write the weights, and then the card with their checksum."""
    save_weights(network, folder)
    files = {WEIGHTS: sha256_of(folder / WEIGHTS)}
    write_json(folder / CARD, {"schema": SCHEMA, **card.model_dump(mode="json"), "files": files})


def read_supernet_card(folder: Path) -> SupernetCard:
    """Read ``supernet.json`` and compare the weights with their checksum.

    Raises:
        UsageError: no supernet lies there.
        DamagedArtifact: it was changed.
    """
    document = read_json(folder / CARD, what="a trained supernet", schema=SCHEMA)
    del document["schema"]
    verify_checksums(folder, document.pop("files", {}))
    try:
        return SupernetCard.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedArtifact(f"'{folder / CARD}' is damaged", observed=f"{where}: {first['msg']}") from None


def load_supernet(folder: Path) -> tuple[EncoderNetwork, SupernetCard]:
    """Load a trained supernet.

    Raises:
        UsageError: no supernet lies there.
        DamagedArtifact: it was changed.
    """
    card = read_supernet_card(folder)
    network = build_supernet(card.search_space, dim=card.dim, spec=card.input)
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        raise DamagedArtifact(
            f"'{folder / WEIGHTS}' does not fit its card", observed=str(error).splitlines()[0]
        ) from None
    return network.eval(), card


def require_supernet(folder: Path, config: NasConfig, space: str) -> SupernetCard:
    """The card of a supernet, if it is one of this search.

    Raises:
        UsageError: no supernet lies there.
        ConfigError: it is of another search space, takes other images, or was trained within a smaller budget.
        SpaceMismatch: it was trained into another space of embeddings.
    """
    card = read_supernet_card(folder)
    require_space(card.space, space, what=f"the supernet '{folder}' and the space")
    wanted, found = config.search_space.model_dump(mode="json"), card.search_space.model_dump(mode="json")
    for key, value in wanted.items():
        if found[key] != value:
            raise ConfigError(
                f"the supernet '{folder}' is of another search space",
                observed=f"{key}: {found[key]}",
                expected=f"{key}: {value}",
                hint="Train a supernet of this one with 'hetsearch nas train', or name another with --supernet.",
            )
    if card.input != config.recipe.input:
        raise ConfigError(
            f"the supernet '{folder}' takes other images",
            observed=card.input.model_dump_json(),
            expected=config.recipe.input.model_dump_json(),
        )
    trained = validate(Budget, card.recipe["encoder"]["arguments"]["budget"], where=f"'{folder / CARD}'")
    if (config.budget.limits > trained.limits).any():
        raise ConfigError(
            f"the supernet '{folder}' was trained within a smaller budget, and knows nothing above it",
            observed=trained.model_dump_json(exclude_none=True),
            expected=config.budget.model_dump_json(exclude_none=True),
            hint="Lower the budget of the search, or train a supernet for it with 'hetsearch nas train'.",
        )
    return card
