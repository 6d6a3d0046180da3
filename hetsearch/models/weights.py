"""The trained arrays of a network: to and from ``model.safetensors``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from hetsearch.bundle import BLEND, WEIGHTS, EncoderCard
from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.files import write_bytes
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.prototypes import PrototypeAttention


def arrays_of(network: EncoderNetwork) -> dict[str, NDArray[Any]]:
    """Every trained array by name; running statistics are among them, counters of batches are not."""
    return {
        name: np.asarray(tensor.detach().cpu().numpy())
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def save_weights(network: EncoderNetwork, folder: Path) -> None:
    """Write ``model.safetensors``."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    write_bytes(folder / WEIGHTS, save(state))


def load_network(folder: Path, card: EncoderCard) -> EncoderNetwork:
    """Make the network of an encoder bundle and load its float32 weights.

    Raises:
        UsageError: the bundle was released without ``model.safetensors``, or is a blend, which has none.
        DamagedArtifact: the weights do not fit the card.
    """
    if card.architecture == BLEND:
        raise UsageError(
            f"'{folder}' is a blend of two encoders and has no weights of its own",
            hint="Train or export the two that it was made of, and blend them again with 'hetsearch blend'.",
        )
    path = folder / WEIGHTS
    if not path.is_file():
        raise UsageError(
            f"'{folder}' has no float32 weights",
            expected=WEIGHTS,
            hint="A released bundle may hold model.onnx only; train it again from its recipe.",
        )
    arguments = {**card.arguments, **({"pretrained": False} if "pretrained" in card.arguments else {})}
    network = build_network(card.architecture, arguments, dim=card.dim, spec=card.input)
    if card.prototypes:
        network.prototypes = PrototypeAttention(card.prototypes, card.dim)
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        raise DamagedArtifact(f"'{path}' does not fit its card", observed=str(error).splitlines()[0]) from None
    return network.eval()
