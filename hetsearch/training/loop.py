"""The training loop: one process, several (data parallel), CPU or GPU, from the same recipe; exact after a kill.

Everything random in step n is drawn from generators seeded by (seed, n), and the order of the images from
(seed, epoch); so a checkpoint needs weights, optimiser and the number of steps, and a resumed run ends with the same
weights as one that was never stopped.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import KwargsHandler, broadcast_object_list
from torch import Tensor
from tqdm import tqdm

from hetsearch.errors import Diverged
from hetsearch.models.network import EncoderNetwork
from hetsearch.space import fingerprint_of
from hetsearch.training.augment import augment
from hetsearch.training.checkpoint import Progress, copy_of, identity_of, load_checkpoint, save_checkpoint
from hetsearch.training.log import TrainingLog
from hetsearch.training.optimization import learning_rate, make_optimizer
from hetsearch.training.recipe import Recipe
from hetsearch.training.sampling import batches_of_epoch
from hetsearch.training.task import Task, TrainingSet

LOG_EVERY = 50  # steps

Evaluate = Callable[[EncoderNetwork], dict[str, float]]
BeforeStep = Callable[[int, int], None]  # the step, from 0, and how many there are


@dataclass(frozen=True)
class Fitted:
    """What a training gives: the best weights of network and objectives are in the task already."""

    best: dict[str, float]  # the validation's metrics, and the epoch
    steps: int
    seconds: float


def make_accelerator(recipe: Recipe, *handlers: KwargsHandler) -> Accelerator:
    """Devices, data parallelism and precision, as ``accelerate`` finds them; ``handlers`` change its defaults.

    bfloat16 is for speed: where a processor lacks it, a recipe that asks for it is trained in float32.
    """
    wanted = recipe.precision == "bf16"
    half = wanted and (torch.cuda.is_available() or computes_bfloat16())
    if wanted and not half:
        tqdm.write("this processor does not compute in bfloat16: training in float32", file=sys.stderr)
    # accelerate keeps the precision of a process's first training, and refuses a second one with another.
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision="bf16" if half else "no", kwargs_handlers=list(handlers))


def computes_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; x86 without it takes many times as long as in float32."""
    if not hasattr(torch.cpu, "get_capabilities"):
        return True  # torch before 2.11 does not tell
    known = torch.cpu.get_capabilities()
    return known["architecture"] != "x86_64" or bool(known["avx512_bf16"] or known["amx_bf16"])


def fit(
    task: Task,
    images: TrainingSet,
    recipe: Recipe,
    *,
    out: Path,
    evaluate: Evaluate,
    accelerator: Accelerator,
    space: str | None = None,
    before_step: BeforeStep | None = None,
) -> Fitted:
    """Train ``task`` on ``images``, resuming from the checkpoint in ``out`` if there is one.

    Args:
        task: network and objectives, untrained.
        images: the training set, in memory.
        recipe: the whole configuration.
        out: folder of checkpoint and log.
        evaluate: metrics of the network on the validation split; ``recipe.select_by`` chooses among epochs.
        accelerator: from :func:`make_accelerator`.
        space: id of the space that is trained into; None where the training defines one.
        before_step: called before each step, to change the network by a function of the step alone (the path of a
            supernet); a resumed training calls it for the steps that are left.

    Raises:
        SpaceMismatch: ``out`` holds a training into another space.
        ConfigError: a batch cannot be filled, or ``out`` holds a training of another recipe, on other images or towards
            other embeddings of them.
        Diverged: the loss is no longer finite.
    """
    run = _Run(task, images, recipe, out, evaluate, accelerator, space, before_step)
    run.resume()
    try:
        run.epochs()
    finally:
        run.close()
    # The first process alone evaluates; the others learn from it which weights were best.
    best, weights = broadcast_object_list([run.progress.best, run.best_weights])
    task.load_state_dict(weights)
    return Fitted(best, run.progress.step, run.progress.seconds)


class _Run:
    def __init__(
        self,
        task: Task,
        images: TrainingSet,
        recipe: Recipe,
        out: Path,
        evaluate: Evaluate,
        accelerator: Accelerator,
        space: str | None,
        before_step: BeforeStep | None,
    ) -> None:
        self.plain, self.images, self.recipe, self.out = task, images, recipe, out
        self.evaluate, self.accelerator, self.before_step = evaluate, accelerator, before_step
        self.identity = identity_of(recipe, space)
        self.learnt_from = fingerprint_of({"pixels": images.pixels.numpy(), "labels": images.labels.numpy()})
        self.per_epoch = len(self._batches(0))
        self.steps = self.per_epoch * recipe.schedule.epochs
        self.progress = Progress()
        self.best_weights: dict[str, Tensor] | None = None
        # Channels last: a CPU convolves up to a third faster.
        task = task.to(accelerator.device).to(memory_format=torch.channels_last)
        optimizer = make_optimizer(task, recipe.optimizer)
        self.task, self.optimizer = accelerator.prepare(task, optimizer)
        self.log: TrainingLog | None = None
        self.bar: Any = None

    def _batches(self, epoch: int) -> list[Any]:
        labels = self.images.labels.numpy()
        return list(batches_of_epoch(labels, self.recipe.batches, seed=self.recipe.seed, epoch=epoch))

    def resume(self) -> None:
        device, targets = self.accelerator.device, self.images.targets
        document = load_checkpoint(self.out, self.identity, self.learnt_from, device, targets)
        if document is not None:
            self.progress = Progress(**document["progress"])
            self.plain.load_state_dict(document["task"])
            self.optimizer.load_state_dict(document["optimizer"])
            self.best_weights = document["best"]
        if self.accelerator.is_main_process:
            self.out.mkdir(parents=True, exist_ok=True)
            self.log = TrainingLog(self.out, step=self.progress.step)
            self.bar = tqdm(
                total=self.steps * self.recipe.batches.size,
                initial=self.progress.step * self.recipe.batches.size,
                unit="img",
                unit_scale=True,
                disable=None,  # a bar for people, lines for files
                dynamic_ncols=True,
            )
            if document is not None:
                tqdm.write(f"resuming: {self.progress.step} of {self.steps} steps are done", file=sys.stderr)

    def epochs(self) -> None:
        schedule = self.recipe.schedule
        for epoch in range(self.progress.step // self.per_epoch, schedule.epochs):
            batches = self._batches(epoch)
            for position in range(self.progress.step - epoch * self.per_epoch, self.per_epoch):
                self._step(batches[position], epoch)
                ends = position + 1 == self.per_epoch
                if not ends and self.progress.step % schedule.checkpoint_every == 0:
                    self._save()
            if (epoch + 1) % schedule.evaluate_every == 0 or epoch + 1 == schedule.epochs:
                self._evaluate(epoch)
            elif self.bar is not None and self.bar.disable:
                self._tell(epoch)
            self._save()

    def _step(self, batch: Any, epoch: int) -> None:
        began = time.perf_counter()
        recipe, step, rank = self.recipe, self.progress.step, self.accelerator.process_index
        share = np.array_split(batch, self.accelerator.num_processes)[rank]
        generator = torch.Generator().manual_seed(_seed_of(recipe.seed, step, rank))
        torch.manual_seed(_seed_of(recipe.seed, step, rank))  # dropout
        if self.before_step is not None:
            self.before_step(step, self.steps)
        rate = learning_rate(step, self.steps, recipe.optimizer.lr, recipe.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        terms = self.task(*self._load(torch.from_numpy(share), generator))
        self.optimizer.zero_grad()
        self.accelerator.backward(terms["loss"])
        if recipe.optimizer.clip:
            self.accelerator.clip_grad_norm_(self.task.parameters(), recipe.optimizer.clip)
        self.optimizer.step()
        self.progress.step += 1
        self.progress.seconds += time.perf_counter() - began
        self._report(terms, rate, epoch, time.perf_counter() - began)

    def _load(self, share: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        device = self.accelerator.device
        pixels, mirrored = augment(
            self.images.pixels[share].to(device),
            self.recipe.augmentation,
            background=self.recipe.input.background,
            generator=generator,
        )
        targets = self.images.targets
        chosen = None if targets is None else targets[mirrored.long(), share].to(device)
        return pixels, self.images.labels[share].to(device), chosen

    def _report(self, terms: dict[str, Tensor], rate: float, epoch: int, seconds: float) -> None:
        if self.log is None:
            return
        self.bar.update(self.recipe.batches.size)
        if self.progress.step % LOG_EVERY == 0 or self.progress.step % self.per_epoch == 0:
            values = {name: float(value.detach()) for name, value in terms.items()}
            if not math.isfinite(values["loss"]):
                raise Diverged(
                    f"the training diverged at step {self.progress.step}",
                    observed=f"loss {values['loss']}",
                    hint="Lower optimizer.lr, or set optimizer.clip.",
                )
            speed = self.recipe.batches.size / seconds
            self.log.write(self.progress.step, epoch=epoch, lr=rate, images_per_s=round(speed, 1), **values)
            self.bar.set_postfix(loss=f"{values['loss']:.3f}", **_short(self.progress.best))

    def _evaluate(self, epoch: int) -> None:
        if self.accelerator.is_main_process and self.log is not None:
            metrics = self.evaluate(self.plain.network)
            self.log.write(self.progress.step, epoch=epoch, validation=metrics)
            key = self.recipe.select_by
            if metrics[key] > self.progress.best.get(key, -1.0):
                self.progress.best = {**metrics, "epoch": epoch}
                self.best_weights = copy_of(self.plain.state_dict())
            line = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            self._tell(epoch, f": {line}")
        self.accelerator.wait_for_everyone()

    def _tell(self, epoch: int, more: str = "") -> None:
        done = f"epoch {epoch + 1}/{self.recipe.schedule.epochs}, {self.progress.seconds / 60:.1f} min"
        tqdm.write(done + more, file=sys.stderr)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            save_checkpoint(
                self.out,
                self.progress,
                self.identity,
                self.learnt_from,
                task=self.plain.state_dict(),
                best=self.best_weights,
                optimizer=self.optimizer.state_dict(),
                targets=self.images.targets,
            )
        self.accelerator.wait_for_everyone()

    def close(self) -> None:
        if self.log is not None:
            self.log.close()
            self.bar.close()


def _seed_of(seed: int, step: int, rank: int) -> int:
    """A seed for one step of one process; neighbouring steps get unrelated ones."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _short(metrics: dict[str, float]) -> dict[str, str]:
    return {name: f"{value:.4f}" for name, value in metrics.items() if name in ("p@1", "map")}
