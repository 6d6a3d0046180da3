"""Start a training from the encoder of an earlier one."""

from __future__ import annotations

from pathlib import Path

import torch

from hetsearch.bundle import CARD, read_card
from hetsearch.errors import ConfigError, UsageError
from hetsearch.models.network import EncoderNetwork
from hetsearch.models.weights import load_network
from hetsearch.objectives import Classification
from hetsearch.space import EmbeddingSpace

BUNDLES = ("gallery-encoder", "query-encoder", "free-encoder")


def start_from(
    run: Path, network: EncoderNetwork, classification: Classification | None = None, classes: tuple[str, ...] = ()
) -> None:
    """Give ``network`` the weights of an earlier encoder, and ``classification`` its classifier where it fits.

    Args:
        run: folder of an earlier training, or an encoder bundle.
        network: of the same architecture.
        classification: the objective to be trained; it starts from the run's space if that has the same classes in
            the same order, else from chance.
        classes: of the training set.

    Raises:
        UsageError: there is no encoder bundle, or it lacks its float32 weights.
        ConfigError: it is another network.
    """
    bundle = next((folder for folder in (run, *(run / name for name in BUNDLES)) if (folder / CARD).is_file()), None)
    if bundle is None:
        known = ", ".join(BUNDLES)
        raise UsageError(f"'encoder.initial' finds no encoder bundle in '{run}'", expected=f"one of {known}")
    try:
        network.load_state_dict(load_network(bundle, read_card(bundle)).state_dict())
    except RuntimeError as error:
        raise ConfigError(
            f"'encoder.initial' names another network than the recipe: '{bundle}'",
            observed=str(error).splitlines()[-1].strip(),
            hint="Give 'encoder' and 'input' as in that bundle's encoder.json.",
        ) from None
    if classification is None or not (run / "space" / "space.json").is_file():
        return
    space = EmbeddingSpace.load(run)
    if space.classifier is not None and space.classes == classes and space.dim == network.dim:
        with torch.no_grad():
            classification.weight.copy_(torch.from_numpy(space.classifier))
