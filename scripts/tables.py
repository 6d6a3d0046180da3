"""What the scripts that make a table share: rows that are written as they are done, and paired comparisons."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hetsearch.bundle import EncoderCard
from hetsearch.evaluation.result import METRICS
from hetsearch.evaluation.scores import PerQuery, Scores
from hetsearch.files import atomic_path, make_folder, write_json
from hetsearch.metrics import bootstrap_means, difference_interval, interval

Row = dict[str, Any]


class Table:
    """The rows of one table: ``results/NAME.json``, and beside the runs the values of every query, for pairing.

    A row that is there already is not made again; remove it to do so.

    Args:
        results: the file of rows.
        runs: folder of the trainings behind them.
        command: what makes the table.
    """

    def __init__(self, results: Path, runs: Path, command: str) -> None:
        self.results, self.runs, self.command = results, runs, command
        self.rows: list[Row] = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else []

    def has(self, name: str, data: str, seed: int) -> bool:
        """Whether the row is done."""
        return any((row["name"], row["data"], row["seed"]) == (name, data, seed) for row in self.rows)

    def add(self, name: str, data: str, seed: int, scores: Scores, **more: Any) -> Row:
        """Write one row, with means and 95 % intervals over queries, and keep its values of every query."""
        path = self._values(name, data, seed)
        make_folder(path.parent)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **{metric: scores.values[metric] for metric in METRICS})
        draws = bootstrap_means(np.stack([scores.values[metric] for metric in METRICS], axis=1))
        means = scores.means()
        return self.note(
            name,
            data,
            seed,
            metrics={metric: means[metric] for metric in METRICS},
            ci={metric: list(interval(draws[:, column])) for column, metric in enumerate(METRICS)},
            n_queries=scores.n_queries,
            **more,
        )

    def note(self, name: str, data: str, seed: int, **columns: Any) -> Row:
        """Write one row that has no values of every query."""
        row = {
            "name": name,
            "data": data,
            "seed": seed,
            **columns,
            "commit": commit(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
            "command": self.command,
        }
        self.rows.append(row)
        write_json(self.results, self.rows)
        return row

    def values(self, name: str, data: str, seed: int) -> PerQuery:
        """Each metric of every query, ``(n_queries,)``."""
        with np.load(self._values(name, data, seed)) as stored:
            return {metric: stored[metric] for metric in METRICS}

    def of(self, name: str, data: str) -> list[Row]:
        """The rows of one name, by seed."""
        found = [row for row in self.rows if (row["name"], row["data"]) == (name, data)]
        return sorted(found, key=lambda row: int(row["seed"]))

    def _values(self, name: str, data: str, seed: int) -> Path:
        return self.runs / "values" / slug(data) / f"{slug(name)}-{seed}.npz"


def slug(text: str) -> str:
    """A name as a file name."""
    return "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in text.lower()).strip("-")


def cost_of(card: EncoderCard, bundle: Path) -> Row:
    """Parameters, MACs and the size of the ONNX file."""
    return {"params": card.params, "macs": card.macs, "bytes": (bundle / "model.onnx").stat().st_size}


def compare(first: PerQuery, second: PerQuery, metric: str) -> Row:
    """The paired difference of two encoders on the same queries, with its 95 % interval."""
    low, high = difference_interval(first[metric], second[metric])
    return {"difference": float(first[metric].mean() - second[metric].mean()), "ci": [low, high]}


def judge(differences: Sequence[Mapping[str, Any]], *, seeds: int) -> str:
    """Confirmed if the difference is above 0 for each seed, refuted if below for each, else undecided."""
    if len(differences) < seeds:
        return "not measured with all seeds"
    if all(found["ci"][0] > 0 for found in differences):
        return "confirmed"
    if all(found["ci"][1] < 0 for found in differences):
        return "refuted"
    return "undecided"


def over_seeds(rows: Sequence[Row], pick: Callable[[Row], float]) -> str:
    """Mean over seeds, in brackets smallest and largest."""
    if not rows:
        return "–"
    values = [pick(row) for row in rows]
    mean = sum(values) / len(values)
    return f"{mean:.4f}" if len(values) == 1 else f"{mean:.4f} ({min(values):.4f} to {max(values):.4f})"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines of Markdown."""
    lines = [f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def commit() -> str:
    """The commit that the row was made with."""
    ask = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    found = subprocess.run(ask, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
