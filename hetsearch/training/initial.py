"""Start a training from the encoder of an earlier one, or from pretrained weights of its backbone."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from hetsearch.bundle import CARD, read_card
from hetsearch.errors import ConfigError, DamagedArtifact, UsageError
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
        run: folder of an earlier training, or an encoder bundle; or a file of the backbone's weights by timm's names
            (safetensors), as of a network that was pretrained for classification: its classifier is left aside.
        network: of the same architecture.
        classification: the objective to be trained; it starts from the run's space if that has the same classes in
            the same order, else from chance.
        classes: of the training set.

    Raises:
        UsageError: there is no encoder bundle, or it lacks its float32 weights.
        ConfigError: it is another network.
        DamagedArtifact: the file of weights cannot be read.
    """
    if run.is_file():
        _load_backbone(run, network)
        return
    bundle = next((folder for folder in (run, *(run / name for name in BUNDLES)) if (folder / CARD).is_file()), None)
    if bundle is None:
        known = ", ".join(BUNDLES)
        raise UsageError(
            f"'encoder.initial' finds no encoder bundle in '{run}'",
            expected=f"one of {known}, or a .safetensors file of the backbone's weights",
        )
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


def _load_backbone(path: Path, network: EncoderNetwork) -> None:
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise DamagedArtifact(f"'{path}' cannot be read as safetensors", observed=error) from None
    counters = "num_batches_tracked"  # are in some files and not in others, and nothing depends on them
    wanted = {name: tensor for name, tensor in network.backbone.state_dict().items() if not name.endswith(counters)}
    wrong = [
        name for name, tensor in wanted.items() if name not in weights or weights[name].shape != tensor.shape
    ]
    if wrong:
        raise ConfigError(
            f"'encoder.initial' names the weights of another network: '{path}'",
            observed=f"{len(wrong)} of {len(wanted)} arrays are missing or of another shape ({wrong[0]})",
            hint="Give 'encoder' and 'input.channels' as of the network that was pretrained.",
        )
    network.backbone.load_state_dict({name: weights[name] for name in wanted}, strict=False)
