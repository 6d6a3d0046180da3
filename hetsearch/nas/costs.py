"""What each gene costs, so that an architecture's cost is a sum; and the budget that it has to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from hetsearch.config import Config
from hetsearch.errors import UsageError
from hetsearch.models.choice_blocks import CHOICES, BlockShape
from hetsearch.models.choice_network import make_head, make_stem, style_of
from hetsearch.models.cost import count_params, macs_and_output
from hetsearch.models.search_space import Gene, Position, SearchSpace, positions_of
from hetsearch.preprocess import InputSpec

KINDS = ("macs", "params", "bytes", "latency_ms")  # the columns of a table of costs
MACS, LATENCY = KINDS.index("macs"), KINDS.index("latency_ms")
BYTES = 4  # of a weight in float32; an ONNX file adds its graph, 45 kilobytes to a network of six shuffle blocks

Path = tuple[int, ...]  # an architecture as numbers of genes, one a position
Table = NDArray[np.float64]


Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]  # None is no limit, infinity a mistake


class Budget(Config):
    """The most that a searched network may cost; what is None is not limited.

    A closed-form head that ``align`` adds after the training of the winner is no part of what is searched.
    """

    macs: Limit | None = None  # of one image
    params: Limit | None = None
    bytes: Limit | None = None  # of the weights in float32, without the ONNX file's graph
    latency_ms: Limit | None = None  # of one image, ONNX Runtime, one thread, this machine, by the table of blocks

    @model_validator(mode="after")
    def _limits_something(self) -> Budget:
        if all(getattr(self, kind) is None for kind in KINDS):
            raise ValueError(f"a budget needs one of {', '.join(KINDS)}")
        return self

    @property
    def limits(self) -> Table:
        """One limit a kind of cost, ``(kinds,)``; infinite where there is none."""
        given = [getattr(self, kind) for kind in KINDS]
        return np.array([np.inf if limit is None else limit for limit in given])

    def allows(self, costs: Table) -> NDArray[np.bool_]:
        """Which rows of costs, ``(…, kinds)``, keep the budget."""
        # A latency that nobody asked for was not measured: NaN exceeds nothing.
        return np.asarray(~(costs > self.limits).any(axis=-1))

    def check(self, costs: Costs) -> None:
        """Refuse a budget that no architecture can keep.

        Raises:
            UsageError: names the smallest that can be reached.
        """
        smallest = costs.smallest()
        for kind, limit, least in zip(KINDS, self.limits, smallest, strict=True):
            if least > limit:
                raise UsageError(
                    f"no architecture of the search space keeps the budget of {kind}",
                    observed=shown(kind, limit),
                    expected=f"at least {shown(kind, least)}, which the smallest costs",
                    hint="Raise the budget, or give the search space fewer channels, stages or smaller widths.",
                )


@dataclass(frozen=True)
class Costs:
    """Costs of the genes of a search space.

    Attributes:
        fixed: what every architecture costs (stem, head, embedding layer), ``(kinds,)``.
        genes: for each position ``(genes, kinds)``.
    """

    fixed: Table
    genes: tuple[Table, ...]

    def of(self, paths: Sequence[Path] | NDArray[np.int64]) -> Table:
        """Costs of architectures ``(n, positions)``: ``(n, kinds)``."""
        drawn = np.asarray(paths, dtype=np.int64).reshape(-1, len(self.genes))
        total: Table = self.fixed + sum(table[drawn[:, index]] for index, table in enumerate(self.genes))
        return total

    def smallest(self) -> Table:
        """The least of each kind that any architecture costs, ``(kinds,)``."""
        least: Table = self.fixed + sum(table.min(axis=0) for table in self.genes)
        return least

    def largest(self) -> Table:
        """The most of each kind, ``(kinds,)``."""
        most: Table = self.fixed + sum(table.max(axis=0) for table in self.genes)
        return most


@dataclass(frozen=True)
class Part:
    """A block as it stands in networks of a space.

    Attributes:
        position: where.
        gene: what.
        side: of the map that it takes, in pixels.
    """

    position: Position
    gene: Gene
    side: int

    @property
    def kind(self) -> tuple[BlockShape, str, int]:
        """What two parts have in common that cost the same."""
        return self.position.shape(self.gene), self.gene.choice, self.side

    def build(self, space: SearchSpace) -> nn.Module:
        """The block, untrained."""
        return CHOICES[self.gene.choice].build(self.position.shape(self.gene), style_of(space))


def parts_of(space: SearchSpace, spec: InputSpec) -> list[list[Part]]:
    """Every block that can stand in a network of the space, by position."""
    side = spec.size if space.stem is None else -(-spec.size // space.stem.stride)
    found = []
    for position in positions_of(space, spec.channels):
        found.append([Part(position, gene, side) for gene in position.genes])
        side = -(-side // position.stride)
    return found


def costs_of(space: SearchSpace, spec: InputSpec, dim: int) -> Costs:
    """Count MACs, parameters and bytes of every gene; latencies are NaN until they are measured.

    Args:
        space: the search space.
        spec: what the encoder takes.
        dim: length of its vectors.
    """
    style, parts = style_of(space), parts_of(space, spec)
    outside = parts[-1][0].position.outside
    first, x = _row(make_stem(space, spec.channels, style), torch.zeros(1, spec.channels, spec.size, spec.size))
    known: dict[Any, tuple[Table, Tensor]] = {}  # blocks of one stage repeat
    tables = []
    for choices in parts:
        for part in choices:
            if part.kind not in known:
                known[part.kind] = _row(part.build(space), x)
        tables.append(np.stack([known[part.kind][0] for part in choices]))
        x = known[choices[0].kind][1]
    middle, features = _row(make_head(space, outside, style), x)
    last, _ = _row(nn.Linear(features.shape[1], dim), features)
    return Costs(np.asarray(first + middle + last), tuple(tables))


def _row(module: nn.Module, example: Tensor) -> tuple[Table, Tensor]:
    macs, output = macs_and_output(module, example)
    params = count_params(module)
    return np.array([macs, params, BYTES * params, np.nan]), output


def shown(kind: str, value: float) -> str:
    """A cost for people."""
    return f"{value:.3f} ms" if kind == "latency_ms" else f"{value:,.0f} {'MACs' if kind == 'macs' else kind}"


def as_dict(costs: Table) -> dict[str, float]:
    """One row of costs by kind; without a latency that was not measured."""
    return {
        kind: float(value) if kind == "latency_ms" else int(value)
        for kind, value in zip(KINDS, costs, strict=True)
        if not np.isnan(value)
    }
