"""Which images make which batch: a pure function of the seed and the epoch, so a resumed run sees the same ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import ConfigError
from hetsearch.training.recipe import BatchConfig

Indices = NDArray[np.int64]


def batches_of_epoch(labels: Indices, config: BatchConfig, *, seed: int, epoch: int) -> list[Indices]:
    """The batches of one epoch, each ``config.size`` image indices; a last, smaller rest is left out.

    Args:
        labels: class index of each training image.
        config: shuffled, or ``classes × samples_per_class``.
        seed: of the training.
        epoch: from 0.

    Raises:
        ConfigError: a batch cannot be filled.
    """
    random = np.random.default_rng([seed, epoch])
    if config.size > len(labels):
        raise ConfigError("a batch is larger than the training set", observed=config.size, expected=f"≤ {len(labels)}")
    if config.samples_per_class is None:
        order = random.permutation(len(labels))
    else:
        order = _balanced(labels, config.size, config.samples_per_class, random)
    whole = len(order) // config.size
    return list(order[: whole * config.size].reshape(whole, config.size).astype(np.int64))


def _balanced(labels: Indices, size: int, samples: int, random: np.random.Generator) -> Indices:
    """An order whose every ``size`` places hold ``size / samples`` classes with ``samples`` images each."""
    classes = np.unique(labels)
    per_batch = size // samples
    if per_batch > len(classes):
        raise ConfigError(
            "a balanced batch needs more classes than there are",
            observed=f"{len(classes)} classes",
            expected=f"size / samples_per_class = {per_batch}",
            hint="Raise samples_per_class.",
        )
    queues = {int(label): _Queue(np.flatnonzero(labels == label), random) for label in classes}
    chunks = []
    for _ in range(len(labels) // size):
        for label in random.permutation(classes)[:per_batch]:
            chunks.append(queues[int(label)].take(samples))
    return np.concatenate(chunks)


class _Queue:
    """Images of one class, in a new random order each time they have all been taken."""

    def __init__(self, members: Indices, random: np.random.Generator) -> None:
        self.members, self.random = members, random
        self.waiting: Indices = members[:0]

    def take(self, count: int) -> Indices:
        while len(self.waiting) < count:
            self.waiting = np.concatenate([self.waiting, self.random.permutation(self.members)])
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken
