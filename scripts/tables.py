"""What the scripts that make a table share: rows that are written as they are done, and paired comparisons."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hetsearch.bundle import read_card
from hetsearch.errors import HetsearchError, UsageError
from hetsearch.evaluation.result import METRICS
from hetsearch.evaluation.scores import PerQuery, Scores
from hetsearch.files import atomic_path, make_folder, write_json
from hetsearch.metrics import bootstrap_means, difference_interval, interval

Row = dict[str, Any]
HALF = "Trained in bfloat16, or in float32 where the processor lacks it; each row tells."
COMPARED = {"p@1": "uint8", "map": "float32"}  # what is kept of every query, and as what


class Table:
    """The rows of one table, ``results/NAME.json``, and their paired comparisons, ``results/NAME-pairs.json``.

    The values of every query, which comparisons are made of, are in ``results/values/NAME``: a table may be made on
    several machines, and anybody can compare its rows anew. A row that is there already is not made again; remove it
    to do so.

    Args:
        results: the file of rows.
        runs: folder of the trainings behind them.
        command: what makes the table.
    """

    def __init__(self, results: Path, runs: Path, command: str) -> None:
        self.results, self.runs, self.command = results, runs, command
        self.paired = results.with_name(f"{results.stem}-pairs.json")
        self.rows, self.pairs = _read(results), _read(self.paired)

    def has(self, name: str, data: str, seed: int) -> bool:
        """Whether the row is done, by this process or another."""
        self.rows = _read(self.results)
        return any(_place(row) == (name, data, seed) for row in self.rows)

    def add(self, name: str, data: str, seed: int, scores: Scores, **more: Any) -> Row:
        """Write one row, with means and 95 % intervals over queries, and keep its values of every query."""
        path = self._values(name, data, seed)
        make_folder(path.parent)
        with self._changing():  # a row that is made again makes its comparisons again
            stored = _read(self.paired)
            self.pairs = [one for one in stored if not _is_of(one, name, data, seed)]
            if self.pairs != stored:
                write_json(self.paired, self.pairs)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            kept: dict[str, Any] = {metric: scores.values[metric].astype(kind) for metric, kind in COMPARED.items()}
            np.savez_compressed(file, **kept)
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
        """Write one row that has no values of every query; a row of its place is replaced."""
        row = {
            "name": name,
            "data": data,
            "seed": seed,
            **columns,
            "commit": commit(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
            "command": self.command,
        }
        with self._changing():
            self.rows = [*(one for one in _read(self.results) if _place(one) != (name, data, seed)), row]
            write_json(self.results, self.rows)
        return row

    def drop(self, old: Callable[[Row], bool]) -> None:
        """Forget the rows that are measured anew as a whole."""
        with self._changing():
            self.rows = [row for row in _read(self.results) if not old(row)]
            write_json(self.results, self.rows)

    def values(self, name: str, data: str, seed: int) -> PerQuery:
        """P@1 and average precision of every query, ``(n_queries,)``; the latter was rounded to float32.

        Raises:
            UsageError: they are not there.
        """
        path = self._values(name, data, seed)
        if not path.is_file():
            raise UsageError(
                f"the values of every query behind the row '{name}' of {data}, seed {seed}, are not there",
                expected=f"'{path}'",
                hint=f"Remove the row from '{self.results}' to make it again.",
            )
        with np.load(path) as stored:
            return {metric: stored[metric].astype(np.float64) for metric in COMPARED}

    def compare(self, first: str, second: str, data: str, seed: int, metric: str) -> Row:
        """The paired difference of two rows, from the file of comparisons or else from the values of every query.

        Raises:
            UsageError: neither is there.
        """
        place = {"first": first, "second": second, "data": data, "seed": seed, "metric": metric}
        known = [one for one in self.pairs if place.items() <= one.items()]
        if not known:
            found = compare(self.values(first, data, seed), self.values(second, data, seed), metric)
            known = [{**place, **found}]
            with self._changing():
                self.pairs = [*_read(self.paired), *known]
                write_json(self.paired, self.pairs)
        return known[0]

    def require_same(self, data: str, key: str, value: str, *, what: str, always: Sequence[str] = ()) -> None:
        """Refuse rows of another gallery encoder, say: their numbers do not belong into one table with new ones.

        Args:
            data: whose rows.
            key: the column, if a row has it.
            value: what it has to be.
            what: what the column tells apart, for the message ("gallery encoder").
            always: names of rows that have to have it.

        Raises:
            UsageError: names the first such row.
        """
        for row in self.rows:
            known = row.get(key, None if row["name"] in always else value)
            if row["data"] == data and known != value:
                raise UsageError(
                    f"'{self.results}' holds rows of another {what}",
                    observed=f"'{row['name']}' of {data} with {key} {known}",
                    expected=value,
                    hint="Give another --results and --runs, or remove those rows.",
                )

    def of(self, name: str, data: str) -> list[Row]:
        """The rows of one name, by seed."""
        found = [row for row in self.rows if (row["name"], row["data"]) == (name, data)]
        return sorted(found, key=lambda row: int(row["seed"]))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Alone with the files: other processes make rows of other data sets and seeds."""
        make_folder(self.runs)
        with (self.runs / "rows.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            yield

    def _values(self, name: str, data: str, seed: int) -> Path:
        return self.results.parent / "values" / self.results.stem / slug(data) / f"{slug(name)}-{seed}.npz"


def run(main: Callable[[], None]) -> None:
    """Run a script; a user's mistake is a message and an exit code, never a traceback."""
    try:
        main()
    except HetsearchError as error:
        sys.stderr.write(f"{Path(sys.argv[0]).stem}: error: {error}\n")
        sys.exit(error.exit_code)


def _read(path: Path) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return rows


def _place(row: Row) -> tuple[str, str, int]:
    return row["name"], row["data"], row["seed"]


def _is_of(pair: Row, name: str, data: str, seed: int) -> bool:
    return name in (pair["first"], pair["second"]) and (pair["data"], pair["seed"]) == (data, seed)


def slug(text: str) -> str:
    """A name as a file name."""
    return "".join(letter if letter.isalnum() or letter in "-." else "-" for letter in text.lower()).strip("-")


def about(bundle: Path) -> Row:
    """Parameters, MACs, the ONNX file's size, its weights' precision, and the one that the training computed in."""
    card = read_card(bundle)
    cost = {"params": card.params, "macs": card.macs, "bytes": (bundle / "model.onnx").stat().st_size}
    asked = card.training.get("recipe", {}).get("precision")  # of a bundle from before the precision was recorded
    return {"cost": cost, "weights": card.precision, "trained_in": card.training.get("precision", asked)}


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


def kendall(first: ArrayLike, second: ArrayLike) -> float:
    """Kendall's τ-b: of all pairs, how many more are ranked alike than otherwise; ties are taken out on their side."""
    a, b = (np.sign(np.subtract.outer(np.asarray(one), np.asarray(one))) for one in (first, second))
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale else float("nan")


def mean_of(rows: Sequence[Row], part: str, metric: str) -> str:
    """One number of each row, over the seeds."""
    return over_seeds([row[part][metric] for row in rows])


def over_seeds(values: Sequence[float | None]) -> str:
    """Mean over seeds, in brackets smallest and largest where they differ."""
    if not values:
        return "–"
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "undefined"
    mean = sum(known) / len(known)
    return f"{mean:.4f}" if len(set(known)) == 1 else f"{mean:.4f} ({min(known):.4f} to {max(known):.4f})"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines of Markdown."""
    lines = [f"| {' | '.join(header)} |", f"| {' | '.join('---' for _ in header)} |"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def commit() -> str:
    """The commit that the row was made with."""
    ask = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        found = subprocess.run(ask, capture_output=True, text=True, check=False)
    except OSError:  # no git on this machine; the row is worth more than its commit
        return "unknown"
    return found.stdout.strip() or "unknown"
