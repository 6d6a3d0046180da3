"""How long scripts/table_nas.py and 'hetsearch nas run' take on this machine, from a few steps of each kind.

    OMP_NUM_THREADS=1 python scripts/estimate_nas.py     # about five minutes

Seconds of one core, so that a busy machine says about what a quiet one does. What trains on two threads takes a little
more than half of it; paths are measured in as many processes as there are cores. Left out: the gallery encoder's
embeddings of the training images, made once and cached, and about 15 seconds for each row's export and evaluation.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from nas_words import HYBRID, OTHERS, REWARD_KINDS, SEEDS, TERMS
from table_nas import DATA, SAMPLED, Benchmark, fitted
from tables import markdown, run

from hetsearch.config import changed, load_config
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.nas.config import NasConfig
from hetsearch.nas.job import Job
from hetsearch.nas.sampling import PathSampler
from hetsearch.nas.supernet import build_supernet, supernet_of
from hetsearch.training.images import load_images
from hetsearch.training.joining import Joining
from hetsearch.training.loop import BeforeStep, make_accelerator
from hetsearch.training.recipe import Recipe
from hetsearch.training.sampling import batches_of_epoch

STEPS, PATHS = 12, 5  # that are timed, of each kind
TRIALS = 4  # of a learning rate, about


class _Enough(Exception):
    """So many steps were timed."""


def main() -> None:
    """Time every data set, and print minutes."""
    torch.set_num_threads(1)
    for data, benchmark in DATA.items():
        configs = [benchmark.config, *([benchmark.small] if benchmark.small else [])]
        rows = [row for config in configs for row in _minutes(config, benchmark)]
        table, command = (sum(float(row[column]) for row in rows) for column in (1, 2))
        cells = [*rows, ["all", f"{table:.1f}", f"{command:.1f}"]]
        sys.stdout.write("\n".join(markdown([data, "table", "nas run"], cells)) + "\n\n")


def _minutes(path: Path, benchmark: Benchmark) -> list[list[str]]:
    """Rows of minutes of one core: what, in the table, by the command 'nas run' of the first configuration."""
    config, first = load_config(NasConfig, path), path == benchmark.config
    with tempfile.TemporaryDirectory() as folder:
        job = Job(config, benchmark.space, Path(folder))
    random = np.random.default_rng(0)
    names = [job.paths.spell(job.paths.within(config.budget, random)) for _ in range(PATHS)]
    supernet = build_supernet(config.search_space, dim=job.paths.dim, spec=config.recipe.input)
    sampler = PathSampler(job.paths, config.supernet.sampling, config.budget, config.recipe.seed)

    def choose(step: int, steps: int) -> None:
        supernet_of(supernet).choose(sampler.path(step * (steps // STEPS), steps))  # from the whole of the training

    trained = _a_step(job.joining, supernet, choose) * _steps(job.joining)
    path_seconds = statistics.median(_measured(job, supernet, name) for name in names)
    evolution, pareto = config.search.evolution, config.search.pareto
    total = evolution.population * evolution.generations
    searched = (len(REWARD_KINDS) + 1 if first else 1) * total
    by_command = 2 * total + (pareto.population * pareto.generations if pareto else 0)
    winner = statistics.median(_alone(job.joining, config.winner_recipe(name)) for name in names[:3])  # of an epoch
    epochs = benchmark.epochs if first else config.recipe.schedule.epochs
    tried = TRIALS * benchmark.rate_epochs
    trials = 0
    if config.search.learning_rate is not None:
        trials = TRIALS * config.rate_recipe(names[0], config.recipe.optimizer.lr).schedule.epochs
    races = config.search.final.count * config.final_recipe(names[0]).schedule.epochs if config.search.final else 0
    found = [
        ("supernet", trained, trained),
        ("final", (len(REWARD_KINDS) + 1 if first else 1) * races * winner, races * winner),
        ("search", searched * path_seconds, by_command * path_seconds),
        ("searched", (len(REWARD_KINDS) + 1 if first else 1) * (len(SEEDS) * epochs + tried) * winner,
         (config.recipe.schedule.epochs + trials) * winner),
    ]
    if first:
        alone = len(SEEDS) * epochs + tried + races  # of one search
        found.append(("free", trained + total * path_seconds + alone * winner, 0.0))
        found.append(("sampled", len(TERMS) * SAMPLED * benchmark.sampled_epochs * winner, 0.0))
        for name, encoder in OTHERS.items():
            recipe = changed(config.recipe, {"encoder": {**encoder, "dim": config.recipe.encoder.dim}})
            recipe = recipe if name == HYBRID else fitted(recipe, config.budget)
            found.append((name, (len(SEEDS) * epochs + tried) * _alone(job.joining, recipe), 0.0))
    shown = "" if first else f", {path.stem}"
    return [[what + shown, f"{a / 60:.1f}", f"{b / 60 if first else 0:.1f}"] for what, a, b in found]


def _measured(job: Job, supernet: EncoderNetwork, architecture: str) -> float:
    began = time.process_time()
    job.judge.measure(supernet, architecture)
    return time.process_time() - began


def _alone(joining: Joining, recipe: Recipe) -> float:
    """Seconds of an epoch of one network."""
    encoder, train = recipe.encoder, joining.train
    if recipe.input != joining.recipe.input:
        train = load_images(train.images, recipe.input)
    own = replace(joining, recipe=changed(recipe, {"schedule.epochs": 1}), train=train)
    network = build_network(encoder.architecture, encoder.arguments, dim=encoder.dim, spec=recipe.input)
    return _a_step(own, network, None) * _steps(own)


def _a_step(joining: Joining, network: EncoderNetwork, before: BeforeStep | None) -> float:
    """Seconds of a step of a training."""
    marks: list[float] = []

    def mark(step: int, steps: int) -> None:
        marks.append(time.process_time())
        if len(marks) > STEPS:
            raise _Enough
        if before is not None:
            before(step, steps)

    with tempfile.TemporaryDirectory() as folder, suppress(_Enough):
        accelerator = make_accelerator(joining.recipe)
        joining.fit(network, Path(folder), evaluate=lambda _: {}, accelerator=accelerator, before_step=mark)
    return float(np.mean(np.diff(marks)[2:]))


def _steps(joining: Joining) -> int:
    assert joining.train.labels is not None  # the configurations' sets have labels
    recipe = joining.recipe
    return recipe.schedule.epochs * len(batches_of_epoch(joining.train.labels, recipe.batches, seed=0, epoch=0))


if __name__ == "__main__":
    run(main)
