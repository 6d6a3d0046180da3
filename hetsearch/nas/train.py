"""The trainings of a search: the supernet, one path a step, and short ones of single architectures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import DistributedDataParallelKwargs

from hetsearch.files import make_folder
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.nas.config import NasConfig
from hetsearch.nas.folder import SupernetCard, save_supernet
from hetsearch.nas.paths import Paths
from hetsearch.nas.rewards import HOMOGENEOUS, Judge, Metrics
from hetsearch.nas.sampling import PathSampler
from hetsearch.nas.supernet import build_supernet, supernet_of
from hetsearch.training.joining import Joining
from hetsearch.training.loop import Evaluate, make_accelerator
from hetsearch.training.query import heterogeneous
from hetsearch.training.recipe import Recipe

PROBES = 0x9B0  # salt of the draw of probed architectures


def open_search(config: NasConfig, space_folder: Path, gallery_encoder: Path | None = None) -> tuple[Joining, Paths]:
    """Load what a search needs, and check the whole configuration before anything is trained.

    Raises:
        UsageError: nothing keeps the budget; the smallest that can be reached is named.
        ConfigError: a recipe does not fit, or lacks something.
        DataError: a source is missing, or nothing can be measured on the validation split.
        SpaceMismatch: the gallery encoder is of another space.
    """
    paths = Paths(config.search_space, config.recipe.input, config.recipe.encoder.dim)
    config.budget.check(paths.costs)
    found = paths.within(config.budget, np.random.default_rng(config.search.seed))
    winner = config.winner_recipe(paths.spell(found))
    joining = Joining.open(config.supernet_recipe(), space_folder, gallery_encoder=gallery_encoder)
    joining.check(winner)
    if config.search.final is not None:
        joining.check(config.final_recipe(paths.spell(found)))
    if config.search.learning_rate is not None:
        joining.check(config.rate_recipe(paths.spell(found), winner.optimizer.lr))
    return joining, paths


def train_supernet(config: NasConfig, joining: Joining, paths: Paths, judge: Judge, out: Path) -> SupernetCard:
    """Train the supernet; resumes what is unfinished in ``out``.

    The objectives are the recipe's, the frozen gallery classifier among them or, for an ablation, not.

    Args:
        config: the search.
        joining: from :func:`open_search`.
        paths: from :func:`open_search`.
        judge: measures the probed architectures.
        out: folder of the supernet.

    Raises:
        ConfigError: ``out`` holds the training of another supernet.
    """
    make_folder(out)
    recipe = joining.recipe
    # A step trains one path; where several processes train, each has parameters without a gradient.
    accelerator = make_accelerator(recipe, DistributedDataParallelKwargs(find_unused_parameters=True))
    torch.manual_seed(recipe.seed)
    network = build_supernet(config.search_space, dim=paths.dim, spec=recipe.input)
    sampler = PathSampler(paths, config.supernet.sampling, config.budget, recipe.seed)
    fitted = joining.fit(
        network,
        out,
        evaluate=_evaluate(config, paths, judge),
        accelerator=accelerator,
        before_step=lambda step, steps: supernet_of(network).choose(sampler.path(step, steps)),
    )
    card = SupernetCard(
        space=joining.reference.space.id,
        dim=network.dim,
        input=network.spec,
        search_space=config.search_space,
        recipe=recipe.model_dump(mode="json"),
        steps=fitted.steps,
        seconds=round(fitted.seconds, 1),
        validation=fitted.best,
    )
    if accelerator.is_main_process:
        save_supernet(network.cpu(), card, out)
    accelerator.wait_for_everyone()
    return card


def _evaluate(config: NasConfig, paths: Paths, judge: Judge) -> Evaluate:
    """The mean over the same few architectures, each with statistics of its own."""
    random = np.random.default_rng([config.recipe.seed, PROBES])
    probed = [paths.spell(paths.within(config.budget, random)) for _ in range(config.supernet.probes)]

    def evaluate(network: EncoderNetwork) -> dict[str, float]:
        rows = [judge.measure(network, architecture) for architecture in probed]
        mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        # Without the gallery's vectors there is M(q, q) alone, as in every training.
        return mean if "map" in mean else {name.removeprefix(HOMOGENEOUS): value for name, value in mean.items()}

    return evaluate


def train_alone(recipe: Recipe, joining: Joining, out: Path) -> tuple[Metrics, float]:
    """Train one architecture from scratch for a short while; resumes what is unfinished in ``out``.

    Args:
        recipe: of this training.
        joining: from :func:`open_search`.
        out: folder of the training.

    Returns:
        What the network is worth on the validation split, named as by a :class:`hetsearch.nas.rewards.Judge`, and the
        seconds of the training, over all starts.
    """
    encoder = recipe.encoder
    accelerator = make_accelerator(recipe)
    torch.manual_seed(recipe.seed)
    network = build_network(encoder.architecture, encoder.arguments, dim=encoder.dim, spec=recipe.input)
    evaluate = heterogeneous(joining.validation, joining.reference)
    own = replace(joining, recipe=recipe)
    fitted = own.fit(network, out, evaluate=evaluate, accelerator=accelerator)
    best = fitted.best
    # Without the gallery's vectors there is M(q, q) alone, and its names have no prefix.
    known = any(name.startswith(HOMOGENEOUS) for name in best)
    metrics = best if known else {f"{HOMOGENEOUS}{name}": best[name] for name in ("map", "p@1")}
    return metrics, fitted.seconds
