"""The T×T matrix of encoders, oldest first: which newer query encoder may be searched among which older gallery?

    python scripts/upgrade_matrix.py --encoders runs/old/gallery-encoder runs/new/gallery-encoder \
        --free runs/new-free/gallery-encoder --data fashion-mnist:test --out results/upgrade

Writes upgrade-matrix.json (rows, one a cell, a pair and a whole) and upgrade-matrix.md into --out. Exit code 2 for a
source or a bundle that is missing, 3 where an image cannot be read.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tables import commit

from hetsearch.data.sides import Sides
from hetsearch.data.sources import open_source
from hetsearch.errors import HetsearchError, UsageError
from hetsearch.evaluation import UpgradeMatrix, compatibility_matrices
from hetsearch.evaluation.evaluate import unique_names
from hetsearch.evaluation.run import embed_all
from hetsearch.files import make_folder, write_json, write_text
from hetsearch.runtime import load_encoder
from hetsearch.runtime.threads import available_threads

NAME = "upgrade-matrix"


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", type=Path, nargs="+", required=True, help="bundles, the oldest first")
    parser.add_argument("--free", type=Path, help="the newest, trained without regard to the older ones")
    parser.add_argument("--data", required=True, help="labelled images: a folder, a manifest, or NAME:SPLIT")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        return measure(given.encoders, given.free, given.data, given.out)
    except HetsearchError as error:
        sys.stderr.write(f"upgrade_matrix: error: {error}\n")
        return error.exit_code


def measure(paths: Sequence[Path], free: Path | None, data: str, out: Path) -> int:
    """Write both files; 3 if an image was left out."""
    if len(paths) < 2:
        raise UsageError("there is nothing to upgrade from", observed="one encoder", expected="two --encoders or more")
    images = open_source(data)
    Sides.of(images)  # wrong labels and roles are told before an hour of embedding, not after
    every = [*paths, *([free] if free else [])]
    names = unique_names([str(path) for path in every])
    encoders = {name: load_encoder(path, threads=available_threads()) for name, path in zip(names, every, strict=True)}
    make_folder(out)
    vectors, images, failures = embed_all(encoders, images)
    sides, rows = Sides.of(images), [vectors[name] for name in names]
    ceilings = {len(paths) - 1: rows[-1]} if free else {}
    names = names[: len(paths)]
    found = list(compatibility_matrices(rows[: len(paths)], sides, free=ceilings).values())
    write_json(out / f"{NAME}.json", rows_of(found, names, images.name))
    write_text(out / f"{NAME}.md", as_markdown(found, names, images.name))
    for failure in failures:
        sys.stderr.write(f"left out {failure.key}: {failure.reason}\n")
    return 3 if failures else 0


def rows_of(found: Sequence[UpgradeMatrix], names: Sequence[str], data: str) -> list[dict[str, Any]]:
    """A row for each cell M(query, gallery), and one with the judgements of each metric."""
    shared = {
        "data": data,
        "seed": None,
        "commit": commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "command": shlex.join(["python", *sys.argv]),
    }
    rows: list[dict[str, Any]] = []
    for t, query in enumerate(names):
        for k, gallery in enumerate(names):
            metrics = {one.metric: float(one.values[t, k]) for one in found}  # NaN is written as null
            ci = {one.metric: one.intervals.get((t, k)) for one in found}
            rows.append({"name": f"M({query}, {gallery})", **shared, "metrics": metrics, "ci": ci})
    judged = {one.metric: one.as_dict(names) for one in found}
    return [*rows, {"name": "upgrades", **shared, "metrics": judged, "ci": {}}]


def as_markdown(found: Sequence[UpgradeMatrix], names: Sequence[str], data: str) -> str:
    """For people: the matrix of each metric, then what may be claimed of each pair."""
    numbers = ", ".join(f"{t} is `{name}`" for t, name in enumerate(names))
    lines = ["# Upgrade matrix", "", f"{found[0].n_queries:,} queries of {data}, oldest first: {numbers}.", ""]
    lines += ["Rows embed the queries, columns the gallery. A pair is compatible where M(new, old) > M(old, old)."]
    for one in found:
        lines += ["", f"## {one.metric}", "", f"| query | {' | '.join(map(str, range(len(names))))} |"]
        lines += ["| --- " * (len(names) + 1) + "|"]
        lines += [f"| {t} | {' | '.join(map(_number, row))} |" for t, row in enumerate(one.values.tolist())]
        lines += ["", "| query, gallery | compatible | M(new, old) - M(old, old) | update gain |", "| --- " * 4 + "|"]
        for (t, k), answer in one.compatible.items():
            low, high = one.differences[t, k][1] if (t, k) in one.differences else (math.nan, math.nan)
            difference = f"{_number(one.values[t, k] - one.values[k, k])} [{_number(low)}, {_number(high)}]"
            word = {True: "yes", False: "no", None: "–"}[answer]
            lines.append(f"| {t}, {k} | {word} | {difference} | {_number(one.gains[t, k])} |")
        lines += ["", f"Average compatibility: {_number(one.average)}."]
        lines += [f"- {name}: {reason}" for name, reason in one.reasons.items()]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4f}"


if __name__ == "__main__":
    sys.exit(main())
