"""What an architecture is worth with the supernet's weights: measured once, in several processes."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from hetsearch.data.sides import Sides
from hetsearch.errors import ConfigError, HetsearchError
from hetsearch.files import write_text
from hetsearch.models.network import EncoderNetwork
from hetsearch.models.torch_encoder import TorchEncoder
from hetsearch.nas.config import RewardConfig
from hetsearch.nas.folder import load_supernet
from hetsearch.nas.supernet import calibrate, cut_out
from hetsearch.preprocess import Pixels
from hetsearch.space import Vectors, fingerprint_of
from hetsearch.training.images import check_decides, first_of_each_class, load_images, retrieval_metrics
from hetsearch.training.joining import Joining
from hetsearch.workers import worker_pool

HOMOGENEOUS = "homogeneous_"  # in front of the names of M(q, q)
SECONDS = "seconds"  # beside the metrics in a line of the memory
SALT = 0xCA1
Metrics = dict[str, float]


@dataclass(frozen=True)
class Judge:
    """What architectures are measured with; the same for all of them.

    Attributes:
        calibration: training images in drawn order, ``uint8 (batches · batch_size, channels, size, size)``.
        batch_size: of the calibration.
        validation: the images that are searched, ``uint8 (n, channels, size, size)``.
        gallery: the gallery encoder's embeddings of them, ``(n, dim)``; None where nobody knows them.
        sides: who asks and who answers.
    """

    calibration: Pixels
    batch_size: int
    validation: Pixels
    gallery: Vectors | None
    sides: Sides

    @classmethod
    def of(cls, joining: Joining, config: RewardConfig) -> Judge:
        """Draw the images from a training's, and embed the validation's with the gallery encoder.

        Raises:
            DataError: nothing can be measured on the validation split, or on that part of it.
            ConfigError: the reward needs the gallery encoder's embeddings, or more training images.
        """
        validation = joining.validation
        if config.limit is not None:
            part = first_of_each_class(validation.images, config.limit)
            validation = load_images(part, joining.recipe.input)
        check_decides(validation.images)
        known = joining.reference.covers(validation)
        if not known and config.kind != "R1":
            raise ConfigError(
                f"the reward {config.kind} needs the gallery encoder's embeddings of the validation split",
                hint="Give --gallery-encoder BUNDLE, or set reward.kind to R1.",
            )
        count, pixels = config.batches * config.batch_size, joining.train.pixels
        if count > len(pixels):
            raise ConfigError(
                "'reward.batches' asks for more images than there are to train on",
                observed=f"{config.batches} × {config.batch_size}",
                expected=f"at most {len(pixels)}",
            )
        drawn = np.random.default_rng([joining.recipe.seed, SALT]).permutation(len(pixels))[:count]
        gallery = joining.reference.embed(validation, joining.recipe.input) if known else None
        return cls(pixels[drawn], config.batch_size, validation.pixels, gallery, Sides.of(validation.images))

    def measure(self, supernet: EncoderNetwork, architecture: str) -> Metrics:
        """``map`` and ``p@1`` of M(q, g), where the gallery is known, and of M(q, q) as ``homogeneous_…``."""
        # Twice as fast on a CPU.
        network = cut_out(supernet, architecture).to(memory_format=torch.channels_last)
        calibrate(network, torch.from_numpy(self.calibration), batch_size=self.batch_size)
        vectors = TorchEncoder(network, name="", space="").encode_pixels(self.validation)
        found = retrieval_metrics(vectors, vectors, self.sides, prefix=HOMOGENEOUS)
        if self.gallery is not None:
            found |= retrieval_metrics(vectors, self.gallery, self.sides)
        return found

    def fingerprint(self) -> str:
        """What the measured numbers depend on, besides the weights."""
        gallery = {} if self.gallery is None else {"gallery": self.gallery}
        images = {"calibration": self.calibration, "validation": self.validation}
        # Labels, groups and roles: the same vectors are worth another number by another protocol.
        sides = {name: np.asarray(column).tolist() for name, column in vars(self.sides).items()}
        told = json.dumps([self.batch_size, sides])
        return hashlib.sha256(f"{fingerprint_of({**images, **gallery})} {told}".encode()).hexdigest()


def reward_of(metrics: Metrics, config: RewardConfig) -> float:
    """One number from what was measured; R3 is the product, as the paper is remembered."""
    homogeneous = metrics[f"{HOMOGENEOUS}{config.metric}"]
    if config.kind == "R1":
        return homogeneous
    return metrics[config.metric] * (homogeneous if config.kind == "R3" else 1.0)


class Scorer:
    """Gives rewards, and measures what is not remembered.

    What was measured lies in ``scores-….jsonl``, one architecture a line, in a file of its own for each supernet and
    set of images; the rewards R1, R2 and R3 are made from the same lines.

    Args:
        supernet: folder of the trained supernet.
        judge: what is measured with.
        config: which reward.
        out: folder of the memory.
        processes: how many measure at once, one thread each.
    """

    def __init__(self, supernet: Path, judge: Judge, config: RewardConfig, out: Path, processes: int) -> None:
        self.supernet, self.judge, self.config, self.processes = supernet, judge, config, processes
        weights = load_supernet(supernet)[0].state_dict()
        arrays = {name: tensor.numpy() for name, tensor in weights.items()}
        mark = hashlib.sha256(f"{fingerprint_of(arrays)} {judge.fingerprint()}".encode()).hexdigest()
        self.path = out / f"scores-{mark[:12]}.jsonl"
        self.known: dict[str, Metrics] = {}
        self.seconds = 0.0  # of one process, to measure all that is known
        for name, found in _read(self.path).items():
            self._keep(name, found)
        self._pool: ProcessPoolExecutor | None = None
        self._alone: EncoderNetwork | None = None
        self._shown: _Progress | None = None

    @contextmanager
    def running(self, what: str, total: int) -> Iterator[None]:
        """Show how far the search of ``total`` architectures is, and the best so far, while the block runs."""
        self._shown = _Progress(what, total, self.config.kind)
        try:
            yield
        finally:
            self._shown.bar.close()
            self._shown = None

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def rewards(self, architectures: Sequence[str]) -> list[float]:
        """The reward of each architecture of a generation, given in the one form of its string.

        Raises:
            HetsearchError: a process that measures was ended, by the system for its memory as a rule.
        """
        found = []
        missing = [name for name in dict.fromkeys(architectures) if name not in self.known]
        measured = self._measure(missing)
        for name in architectures:
            while name not in self.known:
                self._remember(*next(measured))
            found.append(reward_of(self.known[name], self.config))
            if self._shown is not None:
                self._shown.add(found[-1])
        if self._shown is not None:
            self._shown.write()
        return found

    def _measure(self, architectures: list[str]) -> Iterator[tuple[str, Metrics]]:
        if self.processes == 1:
            yield from ((name, self._measure_here(name)) for name in architectures)
        elif architectures:
            if self._pool is None:
                self._pool = worker_pool(self.processes, _start, (self.supernet, self.judge))
            try:
                yield from zip(architectures, self._pool.map(_work, architectures), strict=True)
            except BrokenProcessPool:
                raise HetsearchError(
                    "a process that measured architectures was ended",
                    observed=f"{self.processes} processes",
                    hint="Was the memory enough? Lower search.processes; the same command goes on with what is left.",
                ) from None

    def _measure_here(self, architecture: str) -> Metrics:
        if self._alone is None:
            self._alone = load_supernet(self.supernet)[0]
        with one_thread():
            return _timed(self.judge, self._alone, architecture)

    def _remember(self, architecture: str, found: Metrics) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"arch": architecture, **found}) + "\n")
        self._keep(architecture, found)

    def _keep(self, architecture: str, found: Metrics) -> None:
        self.seconds += found.get(SECONDS, 0.0)
        self.known[architecture] = {name: value for name, value in found.items() if name != SECONDS}


class _Progress:
    """A bar for people, and a line a generation for files."""

    def __init__(self, what: str, total: int, kind: str) -> None:
        self.what, self.total, self.kind = what, total, kind
        self.done, self.best = 0, -1.0
        self.bar = tqdm(total=total, desc=what, unit="arch", disable=None, dynamic_ncols=True, file=sys.stderr)

    def add(self, reward: float) -> None:
        self.done, self.best = self.done + 1, max(self.best, reward)
        self.bar.update(1)
        self.bar.set_postfix({f"best {self.kind}": f"{self.best:.4f}"})

    def write(self) -> None:
        tqdm.write(f"{self.what}: {self.done} of {self.total}, best {self.kind} {self.best:.4f}", file=sys.stderr)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums of several threads differ in their last bits, and rankings with them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _read(path: Path) -> dict[str, Metrics]:
    found: dict[str, Metrics] = {}
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        entries = [(line, _entry(line)) for line in lines]
        if any(entry is None for _, entry in entries):
            write_text(path, "".join(line for line, entry in entries if entry is not None))
        found.update(entry for _, entry in entries if entry is not None)
    return found


def _entry(line: str) -> tuple[str, Metrics] | None:
    """One line of the memory; None for what a kill or a full disk left, which is measured again."""
    if not line.endswith("\n"):
        return None
    try:
        metrics = json.loads(line)
        return str(metrics.pop("arch")), {name: float(value) for name, value in metrics.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


_HELD: dict[str, Any] = {}  # in a process of the pool: its supernet and judge


def _start(supernet: Path, judge: Judge) -> None:
    torch.set_num_threads(1)
    _HELD.update(supernet=load_supernet(supernet)[0], judge=judge)


def _work(architecture: str) -> Metrics:
    return _timed(_HELD["judge"], _HELD["supernet"], architecture)


def _timed(judge: Judge, supernet: EncoderNetwork, architecture: str) -> Metrics:
    began = time.perf_counter()
    return {**judge.measure(supernet, architecture), SECONDS: round(time.perf_counter() - began, 3)}
