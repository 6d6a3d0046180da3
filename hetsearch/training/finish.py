"""The end of every training: the bundle's weights and card, with what made them."""

from __future__ import annotations

import platform
import shlex
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator

import hetsearch
from hetsearch.bundle import EncoderCard, Role, write_card
from hetsearch.files import atomic_folder, write_text
from hetsearch.models.cost import count_macs, count_params
from hetsearch.models.network import EncoderNetwork
from hetsearch.models.weights import save_weights
from hetsearch.training.loop import Fitted
from hetsearch.training.recipe import Recipe


@dataclass(frozen=True)
class Trained:
    """A finished training: where its bundle lies, and the validation's metrics at the best epoch, with its ``epoch``.

    ``first`` is False in all but one process of a data-parallel training; what follows is that one's to do.
    """

    bundle: Path
    space: str
    best: dict[str, float]
    seconds: float
    first: bool


def finish(
    network: EncoderNetwork,
    recipe: Recipe,
    fitted: Fitted,
    out: Path,
    *,
    role: Role,
    space: str,
    accelerator: Accelerator,
) -> Trained:
    """Write ``<role>-encoder/`` with the best weights, and ``recipe.yaml`` beside it; one process writes, all wait.

    Args:
        network: with the best weights.
        recipe: what was asked for.
        fitted: what the loop says.
        out: folder of the run.
        role: gallery, query or free.
        space: id of the space.
        accelerator: the training's.
    """
    bundle = out / f"{role}-encoder"
    network = network.cpu().eval()
    if accelerator.is_main_process:
        card = EncoderCard(
            role=role,
            space=space,
            dim=network.dim,
            architecture=recipe.encoder.architecture,
            arguments=recipe.encoder.arguments,
            prototypes=0 if network.prototypes is None else len(network.prototypes.rows),
            input=recipe.input,
            params=count_params(network),
            macs=count_macs(network),
            training=_training_summary(recipe, fitted, accelerator),
            numbers={"validation": fitted.best},
        )
        with atomic_folder(bundle) as new:
            save_weights(network, new)
            write_card(new, card)
        write_text(out / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    accelerator.wait_for_everyone()
    return Trained(bundle, space, fitted.best, fitted.seconds, accelerator.is_main_process)


def _training_summary(recipe: Recipe, fitted: Fitted, accelerator: Accelerator) -> dict[str, Any]:
    return {
        "command": shlex.join(["hetsearch", *sys.argv[1:]]),
        "recipe": recipe.model_dump(mode="json"),
        "precision": {"no": "float32"}.get(accelerator.mixed_precision, accelerator.mixed_precision),
        "steps": fitted.steps,
        "seconds": round(fitted.seconds, 1),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {_accelerator()}",
        "versions": {"hetsearch": hetsearch.__version__, "torch": version("torch"), "timm": version("timm")},
    }


def _accelerator() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
