"""How long each block takes on this machine: a table measured once, whose sums stand for whole networks.

Each block is run alone by ONNX Runtime on one thread, as encoders are. A session costs something by itself, which is
measured on an empty graph and taken off each block; what all networks share is what the smallest one takes beyond its
blocks. A block within a network is not as fast as alone, where its input is always warm: a few whole networks give one
factor for all sums. What the sums are worth after that is measured on other networks.
"""

from __future__ import annotations

import io
import json
import platform
import sys
import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from hetsearch.errors import DamagedArtifact
from hetsearch.files import read_json, write_json
from hetsearch.models.network import build_network
from hetsearch.nas.costs import LATENCY, MACS, Budget, Costs, Part, parts_of
from hetsearch.nas.paths import Paths
from hetsearch.runtime.onnx_encoder import open_session
from hetsearch.runtime.timing import median_ms

SCHEMA = 1
OPSET = 18
WHOLE = 16  # networks within the budget: the factor is made from half of them, the table is compared with the others
DRAWS = 10  # of an architecture for each that is wanted; a small space may not have so many
RUNS, SECONDS = 100, 0.3  # of one block
EMPTY = "nothing"
POOR = 0.2  # mean error of a table that a budget should not rest on

Graph = tuple[nn.Module, Tensor]  # and what it is run on


@dataclass(frozen=True)
class LatencyError:
    """How far the table is from whole networks.

    Attributes:
        networks: how many were measured.
        mean: mean of ``|table - measured| / measured``.
        worst: the largest of them.
        bias: mean of ``table / measured - 1``; above 0 the table is too high.
    """

    networks: int
    mean: float
    worst: float
    bias: float

    def sentence(self) -> str:
        """For people."""
        warning = "; a latency alone is a poor budget here" if self.mean > POOR else ""
        return (
            f"the table of latencies against {self.networks} whole networks: off by {self.mean:.1%} on average, "
            f"{self.worst:.1%} at most, {self.bias:+.1%} in the mean{warning}"
        )


class LatencyTable:
    """Median milliseconds by name, in a file; what is there is not measured again.

    Args:
        path: of the file. A search that is resumed goes by the same numbers.

    Raises:
        DamagedArtifact: the file is not such a table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, float] = {}
        if path.is_file():
            found = read_json(path, what="a table of latencies", schema=SCHEMA).get("milliseconds")
            if not isinstance(found, dict) or not all(isinstance(value, float) for value in found.values()):
                raise DamagedArtifact(
                    f"'{path}' is damaged",
                    observed=f"milliseconds: {str(found)[:60]}",
                    expected="a number a block",
                    hint="Remove it; everything is measured again.",
                )
            self.known = found

    def of(self, name: str, make: Callable[[], Graph]) -> float:
        """The time of a graph, in milliseconds."""
        if name not in self.known:
            self.known[name] = time_of(*make())
            machine = f"{platform.system()} {platform.machine()}, one thread"
            write_json(self.path, {"schema": SCHEMA, "machine": machine, "milliseconds": self.known})
        return self.known[name]


def measure_latencies(
    paths: Paths, budget: Budget, table: LatencyTable, *, seed: int
) -> tuple[Costs, LatencyError]:
    """The costs of a search space with the latency of each gene on this machine, and how far sums of them are off.

    Args:
        paths: the search space.
        budget: of the search; the table has to be right for what keeps it, if anything does.
        table: where the numbers are kept.
        seed: of the draw of whole networks.

    Raises:
        UsageError: nothing was found that keeps the other limits.
    """
    rough = copy(paths)
    rough.costs = costs = _of_blocks(paths, table)
    if not budget.allows(costs.smallest()):  # sums of blocks may be too high: the corrected ones are what counts
        budget = budget.model_copy(update={"latency_ms": None})
    random = np.random.default_rng([seed, 3])
    drawn = list(dict.fromkeys(rough.within(budget, random) for _ in range(DRAWS * WHOLE)))[:WHOLE]
    measured = np.array([_whole(paths, paths.spell(path), table) for path in drawn])
    half = max(1, len(drawn) // 2)
    factor = np.ones(len(costs.fixed))
    factor[LATENCY] = np.median(measured[:half] / costs.of(drawn[:half])[:, LATENCY])
    scaled = Costs(costs.fixed * factor, tuple(one * factor for one in costs.genes))
    checked = slice(half, None) if len(drawn) > 1 else slice(None)
    off = scaled.of(drawn[checked])[:, LATENCY] / measured[checked] - 1
    return scaled, LatencyError(len(off), float(np.abs(off).mean()), float(np.abs(off).max()), float(off.mean()))


def _of_blocks(paths: Paths, table: LatencyTable) -> Costs:
    parts = parts_of(paths.space, paths.spec)
    empty = table.of(EMPTY, lambda: (nn.Identity(), torch.zeros(1, 1, 1, 1)))
    genes = [costs.copy() for costs in paths.costs.genes]
    with tqdm(total=sum(map(len, parts)), desc="latencies", unit="block", disable=None, file=sys.stderr) as bar:
        for costs, choices in zip(genes, parts, strict=True):
            for row, part in enumerate(choices):
                costs[row, LATENCY] = max(0.0, _of_part(paths, part, table) - empty)
                bar.update(1)
    cheapest = tuple(int(costs[:, MACS].argmin()) for costs in genes)
    blocks = sum(float(costs[gene, LATENCY]) for costs, gene in zip(genes, cheapest, strict=True))
    fixed = paths.costs.fixed.copy()
    fixed[LATENCY] = max(0.0, _whole(paths, paths.spell(cheapest), table) - blocks)
    return replace(paths.costs, fixed=fixed, genes=tuple(genes))


@torch.no_grad()
def time_of(module: nn.Module, example: Tensor) -> float:
    """Median milliseconds of one run on one thread of ONNX Runtime.

    Args:
        module: anything with one input and one output.
        example: what it is run on.
    """
    file: Any = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's older exporter says that it is; it is twenty times faster on a block
        torch.onnx.export(
            module.eval(), (example,), file, input_names=["x"], opset_version=OPSET, dynamo=False, verbose=False
        )
    session = open_session(file.getvalue(), 1)
    given = {"x": example.numpy()}
    return median_ms(lambda: session.run(None, given), runs=RUNS, seconds=SECONDS)


def _of_part(paths: Paths, part: Part, table: LatencyTable) -> float:
    shape, choice, side = part.kind
    name = f"{choice} {shape.inside}-{shape.middle}-{shape.outside}, stride {shape.stride}, at {side}"
    example = torch.zeros(1, shape.inside, side, side)
    return table.of(f"{name}, {paths.space.activation}", lambda: (part.build(paths.space), example))


def _whole(paths: Paths, architecture: str, table: LatencyTable) -> float:
    arguments = {"arch": architecture, "search_space": paths.space.model_dump()}
    spec = paths.spec

    def make() -> Graph:
        network = build_network("choice", arguments, dim=paths.dim, spec=spec)
        return network, torch.zeros(1, spec.channels, spec.size, spec.size, dtype=torch.uint8)

    rest = paths.space.model_dump(mode="json", include={"stem", "stages", "head", "activation"})
    return table.of(f"{architecture} of {json.dumps(rest)} at {spec.size} × {spec.channels}, dim {paths.dim}", make)
