"""One step of ``bench_index.py``, in a process of its own so that its peak memory is its own; JSON on stdout.

    python scripts/index_work.py build|bare|search|choose --data FOLDER --factory STRING

``build`` and ``search`` go through hetsearch, ``bare`` makes the same index with FAISS alone, and ``search`` times both
in turns. The folder is that of ``bench_index.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow.parquet as parquet

from hetsearch.gallery import Limits, open_gallery
from hetsearch.gallery.card import EMBEDDINGS, GalleryCard
from hetsearch.gallery.choosing.choose import choose
from hetsearch.gallery.embedding.shards import ShardSet
from hetsearch.gallery.jobs.generation import write_generation
from hetsearch.gallery.manifest import read_manifest
from hetsearch.gallery.stores.faiss_kinds import training_rows
from hetsearch.preprocess import InputSpec
from hetsearch.space import Embeddings, Vectors

DEPTH = 10
BATCHES = (1, 64)
SECONDS = 40.0  # of searches at one batch size, all contestants together
MOST = 2000  # calls of each contestant
LEAST = 20
Row = dict[str, Any]


def main() -> None:
    """Do one step and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=sorted(STEPS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--factory", default="")
    arguments = parser.parse_args()
    sys.stdout.write(json.dumps(STEPS[arguments.step](arguments.data, arguments.factory)) + "\n")


def build(data: Path, factory: str) -> Row:
    """The stage of ``index build`` that follows the embedding: shards to a gallery."""
    out = data / "gallery"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(data / EMBEDDINGS, out / EMBEDDINGS, copy_function=os.link)
    manifest = read_manifest(out / EMBEDDINGS)
    card = GalleryCard(
        space=manifest.space, dim=manifest.dim, encoder=manifest.encoder, input=InputSpec(), store="faiss",
        factory=factory, count=0, index="", images=manifest.images, listing=manifest.plan.listing,
    )  # fmt: skip
    base, begin = _peak(), time.perf_counter()
    card = write_generation(out, card, manifest)
    return {
        "build_s": time.perf_counter() - begin, "build_peak_mb": _peak(), "base_mb": base,
        "bytes": card.sizes[card.index], "count": card.count,
    }  # fmt: skip


def bare(data: Path, factory: str) -> Row:
    """The same index with FAISS alone: train on as many vectors, add block by block, write. No checks, no ids."""
    base, begin = _peak(), time.perf_counter()
    description, _, settings = factory.partition("@")
    manifest = read_manifest(data / EMBEDDINGS)
    index = faiss.index_factory(manifest.dim, description, faiss.METRIC_INNER_PRODUCT)
    if not index.is_trained:
        step = max(1, -(-manifest.rows // training_rows(faiss, index)))
        index.train(np.concatenate([block[::step].copy() for block in _blocks(data)]))
    for block in _blocks(data):
        index.add(block)
    if settings:
        space: Any = faiss.ParameterSpace()  # its stubs know one parameter at a time only
        space.set_index_parameters(index, settings)
    path = data / "bare.index"
    faiss.write_index(index, str(path))
    return {
        "bare_build_s": time.perf_counter() - begin, "bare_build_peak_mb": _peak(), "bare_base_mb": base,
        "bare_bytes": path.stat().st_size,
    }  # fmt: skip


def search(data: Path, factory: str) -> Row:
    """Recall and time of both, in turns; what is searched is built already.

    The bare call asks the gallery's own index: where two copies of it lie in memory makes more of a difference than
    what is measured.
    """
    base, begin = _peak(), time.perf_counter()
    gallery = open_gallery(data / "gallery")
    row: Row = {"open_s": time.perf_counter() - begin, "open_mb": _peak() - base}
    index = gallery._store._index  # type: ignore[attr-defined]  # a folder of FAISS
    with np.load(data / "queries.npz") as stored:
        vectors, truth = stored["vectors"], stored["truth"]
    found = [[int(hit.key) for hit in hits] for hits in gallery.search(_embeddings(gallery.space, vectors), DEPTH)]
    _, positions = faiss.read_index(str(data / "bare.index")).search(vectors, DEPTH)
    row |= {"recall": _recall(found, truth), "bare_recall": _recall(positions.tolist(), truth)}

    def read(query: Embeddings) -> list[Any]:
        return [list(hits) for hits in gallery.search(query, DEPTH)]

    for batch in BATCHES:
        starts = range(0, len(vectors) - batch + 1, batch)
        queries = [_embeddings(gallery.space, vectors[start : start + batch]) for start in starts]
        contestants: dict[str, Callable[[Embeddings], object]] = {
            "": lambda query: gallery.search(query, DEPTH),
            "read_": read,
            "bare_": lambda query: index.search(query.vectors, DEPTH),
        }
        for name, times in _in_turns(contestants, queries).items():
            row[f"{name}ms@{batch}"], row[f"{name}cpu_ms@{batch}"] = zip(*times, strict=True)
    return {**row, "threads": faiss.omp_get_max_threads()}


def estimate(data: Path, factory: str) -> Row:
    """What ``--factory auto`` would choose, and what it says of each candidate."""
    begin = time.perf_counter()
    choice = choose(ShardSet(data / EMBEDDINGS, read_manifest(data / EMBEDDINGS)), Limits())
    return {"choose_s": time.perf_counter() - begin, "choose_peak_mb": _peak(), **asdict(choice)}


def _in_turns(
    contestants: dict[str, Callable[[Embeddings], object]], queries: list[Embeddings]
) -> dict[str, list[tuple[float, float]]]:
    """Milliseconds of each call, by the clock and of all cores' work: the second hardly feels other processes.

    All take each query one after the other, so that a busy machine troubles all alike.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for work in contestants.values():
        work(queries[0])
    order, begin = list(contestants), time.perf_counter()
    for number in range(MOST):
        query, first = queries[number % len(queries)], number % len(order)
        for name in order[first:] + order[:first]:
            before, worked = time.perf_counter(), time.process_time()
            contestants[name](query)
            spent = time.process_time() - worked
            times[name].append(((time.perf_counter() - before) * 1e3, spent * 1e3))
        if number + 1 >= LEAST and time.perf_counter() - begin > SECONDS:
            break
    return times


def _blocks(data: Path) -> Iterator[Vectors]:
    for path in sorted((data / EMBEDDINGS).glob("shard-*.parquet")):
        column = parquet.read_table(path, columns=["vector"])["vector"].combine_chunks()
        yield column.flatten().to_numpy().reshape(len(column), -1)


def _embeddings(space: str, vectors: Vectors) -> Embeddings:
    return Embeddings(np.ascontiguousarray(vectors), space, tuple(map(str, range(len(vectors)))))


def _recall(found: list[list[int]], truth: Any) -> list[float]:
    return [len(set(row) & set(best)) / DEPTH for row, best in zip(found, truth.tolist(), strict=True)]


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


STEPS: dict[str, Callable[[Path, str], Row]] = {"build": build, "bare": bare, "search": search, "choose": estimate}

if __name__ == "__main__":
    main()
