"""Checkpoints: everything that a resumed run needs to end with the same weights, and a readable line beside it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hetsearch.config import first_difference
from hetsearch.errors import ConfigError, DamagedArtifact
from hetsearch.files import atomic_path, write_json
from hetsearch.space import require_space
from hetsearch.training.recipe import Recipe

CHECKPOINT = "checkpoint.pt"
STATE = "checkpoint.json"
WAY_OUT = "Choose another --out, or remove the folder to start over."
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


def identity_of(recipe: Recipe, space: str | None) -> str:
    """What is trained, as text: the recipe, and the space that is trained into.

    Without defaults, so that a key which a later version adds does not make another recipe of this one; and without
    what is done after the training.
    """
    chosen = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"align"})
    return json.dumps({**chosen, **({} if space is None else {"space": space})}, sort_keys=True)


def require_same_training(out: Path, identity: str) -> None:
    """Refuse a folder that holds another training, before anything is embedded for this one.

    Args:
        out: folder of the run.
        identity: from :func:`identity_of`.

    Raises:
        SpaceMismatch: it is into another space.
        ConfigError: it has another recipe; the first key that differs is named.
        DamagedArtifact: its checkpoint cannot be read.
    """
    if (out / CHECKPOINT).is_file():
        _require_same(_read(out, torch.device("cpu"), mmap=True)["recipe"], identity, out)


def load_checkpoint(
    out: Path, recipe: str, images: str, device: torch.device, targets: Tensor | None = None
) -> dict[str, Any] | None:
    """Read the checkpoint in ``out``; None if there is none.

    Args:
        out: folder of the run.
        recipe: what is trained, from :func:`identity_of`.
        images: fingerprint of the training set.
        device: where the tensors go.
        targets: the gallery encoder's embeddings of the images, ``(2, n, dim)``, if it trains towards them.

    Raises:
        SpaceMismatch: it is of a training into another space.
        ConfigError: it belongs to another recipe, to other images, or to other embeddings of them.
        DamagedArtifact: it cannot be read.
    """
    if not (out / CHECKPOINT).is_file():
        return None
    document = _read(out, device)
    _require_same(document["recipe"], recipe, out)
    if document.get("images", images) != images:
        raise ConfigError(f"'{out}' holds a training on other images", hint=WAY_OUT)
    if targets is not None and not _same(document.get("targets"), sample_of(targets)):
        raise ConfigError(
            f"'{out}' holds a training towards other embeddings of the same images",
            expected="the same gallery encoder, in the same precision, or the same vectors in its place",
            hint=WAY_OUT,
        )
    return document


def _read(out: Path, device: torch.device, *, mmap: bool = False) -> dict[str, Any]:
    path = out / CHECKPOINT
    try:
        # weights_only: a checkpoint is data; nothing in it is executed.
        document: dict[str, Any] = torch.load(path, map_location=device, weights_only=True, mmap=mmap)
        json.loads(document["recipe"])
    except Exception as error:  # noqa: BLE001  torch raises many kinds for a damaged file
        raise DamagedArtifact(
            f"the checkpoint '{path}' cannot be read",
            observed=" ".join(str(error).split())[:200] or type(error).__name__,
            hint="Remove it to start over.",
        ) from None
    return document


def _require_same(found: str, identity: str, out: Path) -> None:
    if found != identity:
        known, own = json.loads(found), json.loads(identity)
        if "space" in known and "space" in own:
            require_space(own["space"], known["space"], what=f"the training that is asked for and the one in '{out}'")
        there, here = first_difference(known, own)
        raise ConfigError(
            f"'{out}' holds a training with another recipe", observed=here, expected=there, hint=WAY_OUT
        )


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
