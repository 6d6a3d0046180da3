"""``--factory auto``: measure every kind of index on a sample of the gallery's own vectors, and take the simplest.

What is exact and what is not: bytes are computed. Recall is measured against exact search, and time one query at a
time, both among the sample. Where the gallery is larger, the recall is carried on along its trend from a quarter of the
sample to the whole, never above what was measured, and the time by what a search reads. Both are then estimates; the
measured figures are kept beside them, and the finished index is measured again
(:mod:`hetsearch.gallery.choosing.confirm`). The queries are vectors of the gallery that are not in the sample: those of
a query encoder may be found a little less often.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import UsageError
from hetsearch.gallery.choosing.choice import AUTO, Candidate, Choice
from hetsearch.gallery.choosing.faiss_candidates import Kind, kinds
from hetsearch.gallery.choosing.limits import Limits, show_size, show_time
from hetsearch.gallery.embedding.embed import Say, silent
from hetsearch.gallery.embedding.shards import ShardSet
from hetsearch.gallery.gallery import TIE_MARGIN
from hetsearch.gallery.stores.faiss_kinds import load_faiss
from hetsearch.gallery.stores.faiss_store import FaissStore
from hetsearch.gallery.stores.store import StorePlan, store_kind
from hetsearch.space import Vectors

STORE = "faiss"  # the kind of store that these indexes are of
SAMPLE = 50_000  # vectors that are indexed to measure
QUERIES = 500  # of the gallery's vectors, which are searched for
DEPTH = 10  # recall@10
QUARTER = 4  # the trend of recall is taken from a sample smaller by this factor
TIMED = 100  # searches that are timed
TIMED_SECONDS = 1.0  # or as many as are done in this time, but
TIMED_LEAST = 5

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """What candidates are measured with.

    Attributes:
        base: ``(n, dim)``, vectors that are indexed.
        queries: ``(m, dim)``, vectors that are searched for.
        count: vectors of the gallery.
    """

    base: Vectors
    queries: Vectors
    count: int

    @classmethod
    def of(cls, vectors: Vectors, count: int) -> Trial:
        """Split a sample: its queries lie spread over it, and where it is small it is searched for as well."""
        held = min(QUERIES, len(vectors) // 10)
        if not held:
            return cls(vectors, vectors, count)
        chosen = np.zeros(len(vectors), dtype=bool)
        chosen[np.linspace(0, len(vectors) - 1, held).astype(int)] = True
        return cls(vectors[~chosen], vectors[chosen], count)

    @property
    def whole(self) -> bool:
        """Whether the sample is the gallery, so that nothing is estimated."""
        return self.count <= len(self.base) + len(self.queries)

    def best(self, base: Vectors) -> tuple[Vectors, Scores]:
        """``base``, and for each query the score of its tenth nearest vector there."""
        depth = min(DEPTH, len(base))
        tenth = [
            np.partition(block @ base.T, len(base) - depth, axis=1)[:, len(base) - depth]
            for block in np.array_split(self.queries, -(-len(self.queries) // 64))
        ]
        return base, np.concatenate(tenth)


def choose(shards: ShardSet, limits: Limits, say: Say = silent) -> Choice:
    """Measure every candidate on a sample of vectors, and choose the simplest that meets the limits.

    Args:
        shards: the vectors.
        limits: what the index may cost and must find.
        say: takes a line about each candidate.

    Raises:
        UsageError: none meets the limits; the message names the nearest, and what to relax.
    """
    count = shards.manifest.rows
    trial = Trial.of(sample_of(shards, SAMPLE + QUERIES), count)
    say(
        f"choosing an index for {count:,} vectors: {limits}; measured on {len(trial.base):,} of them with "
        f"{len(trial.queries):,} queries"
    )
    candidates = []
    for candidate in measured(trial, limits):
        say(describe(candidate))
        candidates.append(candidate)
    chosen = next((found for found in candidates if not found.missed), None)
    if chosen is None:
        say("what is embedded stays: the same command with other limits embeds nothing again")
        raise nothing_meets(candidates, limits)
    return Choice(
        factory=chosen.factory, limits=limits, count=count, sample=len(trial.base), queries=len(trial.queries),
        threads=int(load_faiss().omp_get_max_threads()), candidates=tuple(candidates),
    )  # fmt: skip


def sample_of(shards: ShardSet, most: int) -> Vectors:
    """At most so many of the vectors, evenly spread, ``(n, dim)``."""
    count = shards.manifest.rows
    chosen = np.linspace(0, count - 1, num=min(most, count)).astype(int)
    parts, start = [], 0
    for shard in shards:
        rows = chosen[(chosen >= start) & (chosen < start + len(shard.keys))] - start
        parts.append(shard.vectors[rows])
        start += len(shard.keys)
    return np.concatenate(parts)


def sized(dim: int, count: int, limits: Limits) -> tuple[Candidate, ...]:
    """What can be said of the candidates before there is a vector: their bytes.

    Raises:
        UsageError: none fits into the memory that is allowed.
    """
    found = []
    for kind in kinds(dim, count, min(count, SAMPLE)):
        empty = FaissStore.create(dim, kind.factory(count), count)
        size = empty.bytes_for(count)
        found.append(Candidate(kind.factory(count), size, empty.removable, missed=limits.missed(size)))
    if all(candidate.missed for candidate in found):
        raise nothing_meets(found, limits)
    return tuple(found)


def plan_store(
    out: Path, store: str, uri: str | None, factory: str, limits: Limits | None, dim: int, count: int
) -> StorePlan:
    """The store that a job is to make in the folder ``out``; what cannot be built is refused before any image is read.

    For ``auto`` it is the largest index that may be chosen: what the job must have room for.

    Raises:
        UsageError: limits without ``auto``, ``auto`` for a store that has nothing to choose among, limits that no index
            can meet, no such store, or one that cannot be built.
    """
    backend = store_kind(store).backend(out, uri)
    if factory != AUTO:
        if limits is not None:
            raise UsageError(
                "limits are for the choice of an index", observed=f"--factory {factory}", expected=f"--factory {AUTO}"
            )
        return backend.plan(dim, factory, count)
    if store != STORE:
        raise UsageError(
            f"'--factory {AUTO}' chooses among indexes of FAISS",
            observed=f"--store {store}",
            expected=f"--store {STORE}, or another --factory",
        )
    fitting = [candidate for candidate in sized(dim, count, limits or Limits()) if not candidate.missed]
    return backend.plan(dim, max(fitting, key=lambda candidate: candidate.bytes).factory, count)


def measured(trial: Trial, limits: Limits) -> Iterator[Candidate]:
    """Every candidate, with the cheapest setting of search that finds enough, or else the one that finds most."""
    sets = [trial.best(trial.base)]
    if not trial.whole:
        sets.append(trial.best(trial.base[::QUARTER]))
    dim = trial.base.shape[1]
    for kind in kinds(dim, trial.count, len(sets[-1][0])):
        stores = [_filled(kind, base) for base, _ in sets]
        setting, recall, sample_recall = _setting(kind, trial, sets, stores, limits)
        if setting:
            stores[0].configure(setting)
        latency = latency_of(stores[0], trial.queries)
        growth = 1.0 if trial.whole else kind.growth(len(trial.base), trial.count, setting)
        factory = kind.factory(trial.count, setting)
        size = FaissStore.create(dim, factory, trial.count).bytes_for(trial.count)
        yield Candidate(
            factory=factory, bytes=size, removable=stores[0].removable, recall=recall, latency_ms=latency * growth,
            sample_recall=sample_recall, sample_latency_ms=latency,
            missed=limits.missed(size, latency * growth, recall),
        )  # fmt: skip


def latency_of(store: FaissStore, queries: Vectors) -> float:
    """Milliseconds of one query alone: the median of many."""
    depth = min(DEPTH, len(store))
    store.search(queries[:1], depth)
    times: list[float] = []
    begin = time.perf_counter()
    for number in range(TIMED):
        query = queries[number % len(queries)][None]
        before = time.perf_counter()
        store.search(query, depth)
        times.append(time.perf_counter() - before)
        if len(times) >= TIMED_LEAST and time.perf_counter() - begin > TIMED_SECONDS:
            break
    return float(np.median(times)) * 1e3


def nothing_meets(candidates: Sequence[Candidate], limits: Limits) -> UsageError:
    """The error of a choice without a candidate: the nearest one, and for each limit how far it must give way alone."""
    nearest = min(candidates, key=lambda found: (len(found.missed), -(found.recall or 0), found.bytes))
    ways = [way for name in ("max_latency", "min_recall", "max_memory") if (way := _relaxed(candidates, name))]
    both = " and ".join(_word(nearest, name) for name in nearest.missed)
    return UsageError(
        "no index meets the limits",
        observed=f"the nearest is {describe(nearest)}",
        expected=str(limits),
        hint=f"Relax {' or '.join(ways) if ways else both}.",
    )


def describe(candidate: Candidate) -> str:
    """One line for a person."""
    words = [candidate.factory, show_size(candidate.bytes)]
    if candidate.recall is not None and candidate.latency_ms is not None:
        words[1:1] = [f"recall@10 {candidate.recall:.3f}", show_time(candidate.latency_ms)]
    missed = ", ".join(f"--{name.replace('_', '-')}" for name in candidate.missed)
    return ", ".join(words) + (f" (does not meet {missed})" if missed else "")


def _relaxed(candidates: Sequence[Candidate], name: str) -> str | None:
    """The value of one limit with which a candidate would do, if all others stay."""
    fitting = [found for found in candidates if found.missed == (name,)]
    if not fitting:
        return None
    costs = {
        "max_latency": lambda found: found.latency_ms or 0,
        "min_recall": lambda found: -(found.recall or 0),
        "max_memory": lambda found: found.bytes,
    }
    best = min(fitting, key=costs[name])
    return f"{_word(best, name)} ('{best.factory}')"


def _word(candidate: Candidate, name: str) -> str:
    """A limit that a candidate would meet, rounded to its side."""
    if name == "min_recall":
        return f"--min-recall {math.floor((candidate.recall or 0) * 1e3) / 1e3:g}"
    if name == "max_latency":
        return f"--max-latency {show_time(_up(candidate.latency_ms or 0))}"
    return f"--max-memory {show_size(_up(candidate.bytes))}"


def _up(value: float) -> float:
    """Rounded up to two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0
    return round(math.ceil(value / unit) * unit, 9)


def _filled(kind: Kind, base: Vectors) -> FaissStore:
    store = FaissStore.create(base.shape[1], kind.factory(len(base)), len(base))
    store.train(lambda most: base)
    store.add(np.arange(len(base), dtype=np.int64), base)
    return store


def _setting(
    kind: Kind, trial: Trial, sets: Sequence[tuple[Vectors, Scores]], stores: Sequence[FaissStore], limits: Limits
) -> tuple[str, float, float]:
    """The cheapest setting that finds enough, or else the one that finds most; its recall in the gallery, and here."""
    found: list[tuple[str, float, float]] = []
    for setting in kind.settings:
        recalls = []
        for (base, tenth), store in zip(sets, stores, strict=True):
            if setting:
                store.configure(setting)
            recalls.append(_recall(store, trial.queries, base, tenth))
        recall = recalls[0]
        if not trial.whole:
            steps = math.log(trial.count / len(sets[0][0])) / math.log(QUARTER)
            recall = max(0.0, recall + min(0.0, recalls[0] - recalls[1]) * steps)
        found.append((setting, recall, recalls[0]))
        if recall >= limits.min_recall:
            return found[-1]
    return max(found, key=lambda one: one[1])


def _recall(store: FaissStore, queries: Vectors, base: Vectors, tenth: Scores) -> float:
    """Share of the exact first ten that the store finds; by score, since of two equal pictures either is right."""
    depth = min(DEPTH, len(base))
    ids, _ = store.search(queries, depth)
    scores = np.einsum("md,mkd->mk", queries, base[np.maximum(ids, 0)])
    return float(((scores >= tenth[:, None] - TIE_MARGIN) & (ids >= 0)).sum() / ids.size)
