"""Checkpoints: everything that a resumed run needs to end with the same weights, and a readable line beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hetsearch.errors import ConfigError, DamagedArtifact
from hetsearch.files import atomic_path, write_json

CHECKPOINT = "checkpoint.pt"
STATE = "checkpoint.json"
SAMPLE = 256  # images whose targets a checkpoint remembers, evenly spread
SAME = 2e-3  # difference of two targets' numbers that another machine's rounding, or float16, may make


@dataclass
class Progress:
    """How far a training has come.

    Attributes:
        step: optimiser steps done.
        seconds: time spent in training, over all starts.
        best: the validation's metrics at the best epoch so far, with its ``epoch``; empty before the first.
    """

    step: int = 0
    seconds: float = 0.0
    best: dict[str, float] = field(default_factory=dict)


def save_checkpoint(
    out: Path,
    progress: Progress,
    recipe: str,
    images: str,
    *,
    task: dict[str, Any],
    best: dict[str, Any] | None,
    optimizer: dict[str, Any],
    targets: Tensor | None = None,
) -> None:
    """Write the checkpoint, whole or not at all, and ``checkpoint.json`` for people."""
    document = {
        "progress": asdict(progress),
        "recipe": recipe,
        "images": images,
        "task": task,
        "best": best,
        "optimizer": optimizer,
        "targets": None if targets is None else sample_of(targets),
    }
    with atomic_path(out / CHECKPOINT) as temporary:
        torch.save(document, temporary)
    write_json(out / STATE, asdict(progress))


def load_checkpoint(
    out: Path, recipe: str, images: str, device: torch.device, targets: Tensor | None = None
) -> dict[str, Any] | None:
    """Read the checkpoint in ``out``; None if there is none.

    Args:
        out: folder of the run.
        recipe: what is trained, as text: the recipe, and the space that is trained into.
        images: fingerprint of the training set.
        device: where the tensors go.
        targets: the gallery encoder's embeddings of the images, ``(2, n, dim)``, if it trains towards them.

    Raises:
        ConfigError: it belongs to another recipe or space, to other images, or to other embeddings of them.
        DamagedArtifact: it cannot be read.
    """
    path = out / CHECKPOINT
    if not path.is_file():
        return None
    try:
        # weights_only: a checkpoint is data; nothing in it is executed.
        document: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        found = document["recipe"]
    except Exception as error:  # noqa: BLE001  torch raises many kinds for a damaged file
        raise DamagedArtifact(
            f"the checkpoint '{path}' cannot be read",
            observed=" ".join(str(error).split())[:200] or type(error).__name__,
            hint="Remove it to start over.",
        ) from None
    way_out = "Choose another --out, or remove the folder to start over."
    if found != recipe:
        raise ConfigError(f"'{out}' holds a training with another recipe or into another space", hint=way_out)
    if document.get("images", images) != images:
        raise ConfigError(f"'{out}' holds a training on other images", hint=way_out)
    if targets is not None and not _same(document.get("targets"), sample_of(targets)):
        raise ConfigError(
            f"'{out}' holds a training towards other embeddings of the same images",
            expected="the same gallery encoder, in the same precision, or the same vectors in its place",
            hint=way_out,
        )
    return document


def sample_of(targets: Tensor) -> Tensor:
    """Some rows of ``(2, n, dim)`` targets, evenly spread: ``(2, at most 256, dim)``."""
    rows = torch.linspace(0, targets.shape[1] - 1, min(SAMPLE, targets.shape[1])).long()
    return targets[:, rows].clone()


def _same(stored: Tensor | None, now: Tensor) -> bool:
    """Whether targets are those of the checkpoint; an older checkpoint did not remember them."""
    if stored is None:
        return True
    return stored.shape == now.shape and bool(torch.allclose(stored.cpu(), now, rtol=0, atol=SAME))


def copy_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A snapshot of weights that later steps do not change."""
    return {name: tensor.detach().clone() for name, tensor in state.items()}
