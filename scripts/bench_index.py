"""Build and search through hetsearch against bare FAISS calls, on a million vectors and on ten million.

    python scripts/bench_index.py --count 1000000
    python scripts/bench_index.py --count 10000000 --only SQ8 SQfp16 RaBitQ   # about 10 GB of memory, 16 of disk
    python scripts/bench_index.py --table                 # only results/index.md, from the rows that are there

The vectors are embeddings of FashionMNIST's 60,000 training images by the released query encoder, each many times with
other noise of length 0.3 on it; the queries are 500 test images. Ground truth is exact search in NumPy. The factories
and their settings of search are those that ``--factory auto`` measures with a recall of 0.95 in mind; what it estimates
from its sample stands beside what is measured here.

For each factory, in processes of their own: the stage of ``index build`` that makes a gallery from shards; the same
index by ``index_factory``, ``train``, ``add``, ``write_index`` from the same files; and searches through hetsearch and
by FAISS's call on the same index, in turns, with a batch of 1 and of 64, k = 10. FAISS gives positions and scores.
hetsearch checks space and vectors, resolves ties by key and gives hits; "read" also reads the key and the label of
every hit. Times are by the clock and of work (all cores); on a busy machine only the second compares. Peak memory is
that of the process, above what it had after its imports.

A row that is in ``results/index.json`` is not made again: remove it there to do so. The vectors need 600 bytes each
under ``runs/bench-index``, the indexes as much again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tables import Row, Table, markdown, run

from hetsearch.data.images import ImageSet
from hetsearch.data.reading import DIGEST
from hetsearch.data.sources import open_source
from hetsearch.errors import HetsearchError
from hetsearch.files import atomic_path, read_json, write_json, write_text
from hetsearch.gallery.card import EMBEDDINGS
from hetsearch.gallery.embedding.shards import Shard, write_shard
from hetsearch.gallery.ids import hash_keys
from hetsearch.gallery.manifest import Manifest, Plan, read_manifest, weights_of, write_manifest
from hetsearch.metrics import bootstrap_means, interval
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.space import Vectors

RESULTS = Path("results/index.json")
RUNS = Path("runs/bench-index")
ENCODER = Path("zoo/fashion-mnist/query-encoder")
SHARD_ROWS = 4096
QUERIES = 500
NOISE = 0.3  # length of what is added to a unit vector: a cosine of 0.96 to it
SEED = 0
DRAWS = 1000
BATCHES = (1, 64)


def main() -> None:
    """Measure what is not measured yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--only", nargs="+", default=[""], help="only factories that contain one of these words")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    if not arguments.table:
        measure(arguments.count, arguments.only)
    write_text(RESULTS.with_suffix(".md"), "\n".join(report(Table(RESULTS, RUNS, "").rows)))


def measure(count: int, only: list[str]) -> None:
    """Make the rows of one number of vectors."""
    words = f" --only {' '.join(only)}" if only != [""] else ""
    table = Table(RESULTS, RUNS, f"python scripts/bench_index.py --count {count}{words}")
    data, name = RUNS / str(count), f"fashion-mnist with noise, {count:,}"
    encoder = load_encoder(ENCODER)
    table.require_same(name, "space", encoder.space, what="gallery encoder")
    if not (data / "queries.npz").exists() or read_manifest(data / EMBEDDINGS).plan.weights != weights_of(encoder):
        shutil.rmtree(data, ignore_errors=True)
        prepare(data, count, encoder)
    if not (data / "choice.json").exists():
        write_json(data / "choice.json", step(data, "choose", ""))
    choice = read_json(data / "choice.json", what="a choice")
    for candidate in choice["candidates"]:
        factory = candidate["factory"]
        if table.has(factory, name, SEED) or not any(word in factory for word in only):
            continue
        print(f"{factory} …", file=sys.stderr)
        load, row = [os.getloadavg()[0]], Row()
        for work in ("build", "bare", "search"):
            row |= step(data, work, factory)
        load.append(os.getloadavg()[0])
        metrics, ci = summary(row)
        estimated = {key: candidate[key] for key in ("recall", "latency_ms", "bytes")}
        more = {"sample": choice["sample"], "threads": row["threads"], "load": load, "space": encoder.space}
        table.note(factory, name, SEED, metrics=metrics, ci=ci, estimated=estimated, **more)


def prepare(data: Path, count: int, encoder: OnnxEncoder) -> None:
    """Write the shards, and the queries with their exact first ten; a block at a time."""
    parts = [_embedded(encoder, open_source(f"fashion-mnist:{split}")) for split in ("train", "validation", "test")]
    real, labels = np.concatenate([parts[0][0], parts[1][0]]), [*parts[0][1], *parts[1][1]]
    queries = parts[2][0][np.linspace(0, len(parts[2][0]) - 1, QUERIES).astype(int)]
    keys = (f"{number:08d}" for number in range(count))
    plan = Plan(
        listing=hash_keys(count, keys), rows=count, shard_rows=SHARD_ROWS, batch_size=SHARD_ROWS,
        weights=weights_of(encoder),
    )  # fmt: skip
    entries, best, truth = [], np.full((QUERIES, 0), -np.inf, np.float32), np.empty((QUERIES, 0), np.int64)
    for number in range(plan.shards):
        rows = plan.covered(number)
        vectors = _noisy(real[np.arange(rows.start, rows.stop) % len(real)], number)
        names = tuple(f"{row:08d}" for row in rows)
        words: list[str | None] = [labels[row % len(real)] for row in rows]
        digests = np.random.default_rng(number).integers(256, size=(len(rows), DIGEST), dtype=np.uint8)
        entries.append(write_shard(data / EMBEDDINGS, number, Shard(names, vectors, {"label": words}, digests)))
        best = np.concatenate([best, queries @ vectors.T], axis=1)
        truth = np.concatenate([truth, np.broadcast_to(np.arange(rows.start, rows.stop), (QUERIES, len(rows)))], axis=1)
        first = np.argpartition(-best, 9, axis=1)[:, :10]
        best, truth = np.take_along_axis(best, first, axis=1), np.take_along_axis(truth, first, axis=1)
    manifest = Manifest(
        space=encoder.space, encoder=encoder.name, dim=encoder.dim, images="fashion-mnist with noise", plan=plan,
        shards=tuple(entries),
    )  # fmt: skip
    write_manifest(data / EMBEDDINGS, manifest)
    with atomic_path(data / "queries.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, vectors=queries, truth=truth)


def step(data: Path, work: str, factory: str) -> Row:
    """What one step measured, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("index_work.py")), work]
    done = subprocess.run(
        [*command, "--data", str(data), "--factory", factory], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise HetsearchError(f"the step '{work}' of '{factory}' failed", observed=f"exit code {done.returncode}")
    found: Row = json.loads(done.stdout)
    return found


def summary(row: Row) -> tuple[Row, Row]:
    """The figures of a row, and 95 % intervals of recall and of the ratios of medians."""
    recall = np.array([row["recall"], row["bare_recall"]]).T
    metrics: Row = {"recall@10": recall[:, 0].mean(), "bare_recall@10": recall[:, 1].mean()}
    ci: Row = {"recall@10": list(interval(bootstrap_means(recall)[:, 0]))}
    for batch in BATCHES:
        for name in ("", "read_", "bare_"):
            clock, work = (np.array(row[f"{name}{kind}ms@{batch}"]) for kind in ("", "cpu_"))
            metrics |= {f"{name}p{part}_ms@{batch}": np.quantile(clock, part / 100) for part in (50, 99)}
            metrics[f"{name}p50_cpu_ms@{batch}"] = np.median(work)
            if name != "bare_":
                for kind, found in (("", clock), ("cpu_", work)):
                    ratio, ends = _ratio(found, np.array(row[f"bare_{kind}ms@{batch}"]))
                    metrics[f"{name}{kind}ratio@{batch}"], ci[f"{name}{kind}ratio@{batch}"] = ratio, ends
        metrics[f"calls@{batch}"] = len(row[f"ms@{batch}"])
    metrics |= {
        "bytes_per_vector": row["bytes"] / row["count"], "bare_bytes_per_vector": row["bare_bytes"] / row["count"],
        "build_s": row["build_s"], "bare_build_s": row["bare_build_s"],
        "build_peak_mb": row["build_peak_mb"] - row["base_mb"],
        "bare_build_peak_mb": row["bare_build_peak_mb"] - row["bare_base_mb"],
        "index_mb": row["bytes"] / 2**20, "open_s": row["open_s"], "open_mb": row["open_mb"],
    }  # fmt: skip
    return {name: float(value) for name, value in metrics.items()}, ci


def report(rows: list[Row]) -> list[str]:
    """The table in words."""
    lines = ["# Build and search against bare FAISS calls", "", *_notes(rows)]
    for data in dict.fromkeys(row["data"] for row in rows):
        some = [row for row in rows if row["data"] == data]
        lines += ["", f"## {data} vectors", "", "hetsearch / bare FAISS; milliseconds of a call.", ""]
        lines += markdown(SEARCH, [[f"`{row['name']}`", *_search(row["metrics"], row["ci"])] for row in some])
        lines += ["", "The stage of the job that makes the gallery from shards; MiB above the process's imports.", ""]
        lines += markdown(BUILD, [[f"`{row['name']}`", *_build(row["metrics"])] for row in some])
        lines += ["", f"What `--factory auto` estimated from {some[0]['sample']:,} vectors / measured here.", ""]
        lines += markdown(AUTO, [[f"`{row['name']}`", *_estimates(row)] for row in some])
    return [*lines, ""]


CELLS = ("p50", "p99", "ratio of p50 (95 %)", "of work", "of work, all hits read")
SEARCH = ("index", "recall@10", *(f"batch {batch}: {cell}" for batch in BATCHES for cell in CELLS))
BUILD = ("index", "bytes a vector", "seconds", "peak MiB", "index MiB", "peak / index", "open: s", "open: MiB")
AUTO = ("index", "recall@10", "milliseconds", "bytes")


def _notes(rows: list[Row]) -> Iterator[str]:
    for command in dict.fromkeys(row["command"] for row in rows):
        some = [row for row in rows if row["command"] == command]
        loads = [load for row in some for load in row["load"]]
        yield (
            f"`{command}`, commit {', '.join(dict.fromkeys(row['commit'] for row in some))}, {some[0]['machine']}, "
            f"{some[0]['threads']} threads, load of the machine {min(loads):.1f} to {max(loads):.1f}."
        )
    yield ""
    yield (
        "Vectors: embeddings of FashionMNIST's training images by the released query encoder, with noise of length "
        f"{NOISE}; {QUERIES} test images as queries, k = 10. Bare FAISS gives positions and scores; hetsearch checks "
        "space and vectors, resolves ties by key and gives hits, of which \"all hits read\" also reads key and label. "
        "Both take each query in turns; \"of work\" compares the time that the cores worked, not the clock."
    )


def _search(metrics: Row, ci: Row) -> list[str]:
    cells = [f"{metrics['recall@10']:.4f} / {metrics['bare_recall@10']:.4f}"]
    for batch in BATCHES:
        low, high = ci[f"ratio@{batch}"]
        cells += [
            f"{metrics[f'p50_ms@{batch}']:.3f} / {metrics[f'bare_p50_ms@{batch}']:.3f}",
            f"{metrics[f'p99_ms@{batch}']:.3f} / {metrics[f'bare_p99_ms@{batch}']:.3f}",
            f"{metrics[f'ratio@{batch}']:.3f} ({low:.3f} to {high:.3f})",
            f"{metrics[f'cpu_ratio@{batch}']:.3f}",
            f"{metrics[f'read_cpu_ratio@{batch}']:.3f}",
        ]
    return cells


def _build(metrics: Row) -> list[str]:
    return [
        f"{metrics['bytes_per_vector']:.1f} / {metrics['bare_bytes_per_vector']:.1f}",
        f"{metrics['build_s']:.1f} / {metrics['bare_build_s']:.1f}",
        f"{metrics['build_peak_mb']:,.0f} / {metrics['bare_build_peak_mb']:,.0f}",
        f"{metrics['index_mb']:,.0f}",
        f"{metrics['build_peak_mb'] / metrics['index_mb']:.2f}",
        f"{metrics['open_s']:.1f}",
        f"{metrics['open_mb']:,.0f}",
    ]


def _estimates(row: Row) -> list[str]:
    metrics, estimated = row["metrics"], row["estimated"]
    size = metrics["index_mb"] * 2**20
    return [
        f"{estimated['recall']:.3f} / {metrics['recall@10']:.3f}",
        f"{estimated['latency_ms']:.3f} / {metrics['p50_ms@1']:.3f}",
        f"{estimated['bytes'] / size:.4f} of what it is",
    ]


def _ratio(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, list[float]]:
    """Ratio of medians, and its interval over calls that were made in turns."""
    draws = np.random.default_rng(SEED).integers(len(first), size=(DRAWS, len(first)))
    ratios = np.median(first[draws], axis=1) / np.median(second[draws], axis=1)
    return float(np.median(first) / np.median(second)), list(interval(ratios))


def _noisy(vectors: Vectors, seed: int) -> Vectors:
    noise = np.random.default_rng([SEED, seed]).normal(size=vectors.shape) * (NOISE / vectors.shape[1] ** 0.5)
    found = vectors + noise
    unit: Vectors = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _embedded(encoder: OnnxEncoder, images: ImageSet) -> tuple[Vectors, list[str]]:
    assert images.labels is not None
    blocks = [range(start, min(start + 500, len(images))) for start in range(0, len(images), 500)]
    return np.concatenate([encoder.encode([images.read(row) for row in block]).vectors for block in blocks]), [
        *images.labels
    ]


if __name__ == "__main__":
    run(main)
