"""Involution by shifted views (in training with its gradient by hand) against the usual unfold, in one run.

    python scripts/bench_involution.py            # about a minute; writes results/involution.md

Each figure is the median of several rounds in which the two take turns, so that a busy machine troubles both alike.
Inference is in ONNX Runtime, one thread, because that is where a query encoder runs.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hetsearch.files import write_text
from hetsearch.models.involution import _InTraining, involve

ROUNDS = 15
CALLS = 20
CASES = (  # channels, side, kernel size, groups, batch
    (1, 28, 3, 1, 128),
    (3, 64, 3, 1, 128),
    (1, 28, 7, 1, 128),
    (32, 14, 3, 2, 128),
    (64, 14, 7, 4, 128),
)
Apply = Callable[..., Tensor]


class _Layer(nn.Module):
    def __init__(self, apply: Apply, kernel_size: int, groups: int) -> None:
        super().__init__()
        self.apply_kernels, self.kernel_size, self.groups = apply, kernel_size, groups

    def forward(self, x: Tensor, kernels: Tensor) -> Tensor:
        return self.apply_kernels(x, kernels, kernel_size=self.kernel_size, groups=self.groups)


def main() -> None:
    """Measure every case and write the table."""
    torch.set_num_threads(1)
    rows = []
    for channels, side, kernel_size, groups, batch in CASES:
        x = torch.randn(batch, channels, side, side, requires_grad=True)
        kernels = torch.randn(batch, groups * kernel_size**2, side, side, requires_grad=True)
        ours, by_hand, usual = (_Layer(apply, kernel_size, groups) for apply in (involve, _by_hand, _by_unfolding))
        training = _turns([_training(layer, x, kernels) for layer in (by_hand, usual)])
        one = (x[:1].detach(), kernels[:1].detach())
        inference = _turns([_in_onnx_runtime(layer, one) for layer in (ours, usual)])
        case = f"C {channels}, {side} × {side}, K {kernel_size}, G {groups}"
        rows.append(f"| {case} | {_pair(training)} | {_pair(inference)} |")
    text = "\n".join(
        [
            "# Involution: shifted views against unfold",
            "",
            f"`python scripts/bench_involution.py`, torch {torch.__version__}, ONNX Runtime {ort.__version__}, "
            f"{platform.machine()}, {os.cpu_count()} CPUs, one thread. Milliseconds, median of {ROUNDS} rounds in "
            "turns: shifted views / unfold. Only the application of the kernels is timed; making them is the same.",
            "",
            f"| layer | training, batch {CASES[0][-1]} | ONNX Runtime, {CALLS} images one by one |",
            "| --- | --- | --- |",
            *rows,
            "",
        ]
    )
    write_text(Path("results/involution.md"), text)
    print(text)


def _by_hand(x: Tensor, kernels: Tensor, *, kernel_size: int, groups: int) -> Tensor:
    trained: Tensor = _InTraining.apply(x, kernels, kernel_size, groups, 1)
    return trained


def _by_unfolding(x: Tensor, kernels: Tensor, *, kernel_size: int, groups: int) -> Tensor:
    batch, channels, height, width = x.shape
    patches = F.unfold(x, kernel_size, padding=kernel_size // 2)
    patches = patches.view(batch, groups, channels // groups, kernel_size**2, height, width)
    weights = kernels.view(batch, groups, 1, kernel_size**2, height, width)
    return (patches * weights).sum(dim=3).view(batch, channels, height, width)


def _turns(works: list[Callable[[], object]]) -> list[float]:
    for work in works:
        work()
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, taken in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            taken.append((time.perf_counter() - began) * 1000)
    return [statistics.median(taken) for taken in times]


def _training(layer: nn.Module, x: Tensor, kernels: Tensor) -> Callable[[], object]:
    return lambda: layer(x, kernels).sum().backward()


def _in_onnx_runtime(layer: nn.Module, inputs: tuple[Tensor, Tensor]) -> Callable[[], object]:
    program = torch.onnx.export(layer.eval(), inputs, input_names=["x", "kernels"], dynamo=True, verbose=False)
    assert program is not None
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"x": np.asarray(inputs[0]), "kernels": np.asarray(inputs[1])}

    def several() -> None:
        for _ in range(CALLS):  # one image takes microseconds
            session.run(None, feed)

    several()
    return several


def _pair(times: list[float]) -> str:
    return f"{times[0]:.3f} / {times[1]:.3f}"


if __name__ == "__main__":
    main()
