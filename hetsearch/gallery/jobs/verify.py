"""Is a gallery whole, and does its index find what it holds?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DamagedArtifact
from hetsearch.files import verify_checksums
from hetsearch.gallery.card import EMBEDDINGS, SPACE, GalleryCard, in_one_generation
from hetsearch.gallery.embedding.shards import ATTRIBUTES, ShardSet, open_shards
from hetsearch.gallery.gallery import TIE_MARGIN, Gallery, open_generation
from hetsearch.gallery.jobs.generation import require_accepted
from hetsearch.gallery.stores.store import Rows, store_kind
from hetsearch.space import Embeddings, Vectors

SAMPLE = 100
DEPTH = 10  # hits that are compared
EXACT = frozenset({"Flat"})  # factories that may not miss anything


@dataclass(frozen=True)
class VerifyReport:
    """What was verified; what does not hold is an error instead.

    Attributes:
        gallery: the folder.
        space: id of the gallery's space.
        spaces: vectors by space, where some are of an older one; else empty.
        rows: vectors, items and rows of shards.
        files: how many checksums hold.
        sample: vectors that were searched for.
        self_recall: share of them that find themselves, or a vector as near, first.
        recall: share of the exact first ten hits that the store finds.
        failures: images that could not be read when it was built.
    """

    gallery: Path
    space: str
    rows: int
    files: int
    sample: int
    self_recall: float
    recall: float
    failures: int
    spaces: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {**vars(self), "gallery": str(self.gallery)}


def verify_gallery(path: str | Path) -> VerifyReport:
    """Verify checksums, counts and space, and search for a sample of 100 vectors.

    The sample is searched in the store, and exactly among the vectors of the shards (NumPy, float64). Of a database
    every row is read and compared: a server's files have no checksum of ours, and only it knows what they hold.

    Raises:
        UsageError: no gallery, or an unfinished one.
        DamagedArtifact: a file was changed, the parts do not fit together, or an exact index misses vectors.
    """
    folder = Path(path)
    return in_one_generation(folder, lambda card: _verified(folder, card))


def _verified(folder: Path, card: GalleryCard) -> VerifyReport:
    verify_checksums(folder, card.files)
    gallery = open_generation(folder, card, verify=False)
    shards = open_shards(folder / EMBEDDINGS, card.generation)
    _check_manifest(folder, card, shards)
    if (rows := store_kind(card.store).rows) is not None:
        _check_rows(folder, rows(folder, card), shards)
    sample = _sample(shards, card.count)
    self_recall, recall = _recalls(gallery, shards, sample)
    if card.factory in EXACT and min(self_recall, recall) < 1:
        raise DamagedArtifact(
            f"the index of '{folder}' does not find the vectors of its shards",
            observed=f"self-recall {self_recall:.2f}, recall {recall:.2f}",
            expected="1.00 of an exact index",
            hint="Build the gallery again.",
        )
    return VerifyReport(
        folder, card.space, card.count, len(card.files), len(sample), self_recall, recall, card.failures, card.spaces
    )


def _check_manifest(folder: Path, card: GalleryCard, shards: ShardSet) -> None:
    manifest = shards.manifest
    pairs: dict[str, tuple[Any, Any]] = {
        "space": (manifest.space, card.space),
        "dim": (manifest.dim, card.dim),
        "failures": (manifest.failures, card.failures),
        "rows": (manifest.rows, card.count),
    }
    if manifest.space == card.space:
        pairs["spaces"] = (require_accepted(shards, card), card.spaces)
    for name, (observed, expected) in pairs.items():
        if observed != expected:
            raise DamagedArtifact(
                f"shards and gallery.json of '{folder}' disagree about '{name}'",
                observed=observed,
                expected=expected,
                hint="Build the gallery again.",
            )


def _check_rows(folder: Path, rows: Iterable[Rows], shards: ShardSet) -> None:
    observed = _total(rows)
    expected = _total(shards.records())
    if observed != expected:
        raise DamagedArtifact(
            f"the database of '{folder}' does not hold the rows of its shards",
            observed=f"{observed[0]:,} rows, sum {observed[1] % 2**48:012x}",
            expected=f"{expected[0]:,} rows, sum {expected[1] % 2**48:012x}",
            hint="Make it anew from the shards: hetsearch index update with --rebuild.",
        )


def _total(rows: Iterable[Rows]) -> tuple[int, int]:
    """How many rows, and the sum of their hashes, which is the same in any order."""
    count = total = 0
    for ids, vectors, items in rows:
        columns = [items.get(name) or [None] * len(ids) for name in ("key", *ATTRIBUTES, SPACE)]
        for row, number in enumerate(ids.tolist()):
            text = repr([number, *(column[row] for column in columns)]).encode()
            total += int.from_bytes(hashlib.sha256(text + vectors[row].tobytes()).digest(), "big")
        count += len(ids)
    return count, total % 2**256


def _sample(shards: ShardSet, count: int) -> Embeddings:
    """Rows spread evenly over the shards."""
    chosen = set(np.linspace(0, count - 1, num=min(SAMPLE, count)).astype(int).tolist())
    keys: list[str] = []
    vectors: list[Vectors] = []
    start = 0
    for shard in shards:
        rows = [row for row in range(len(shard.keys)) if start + row in chosen]
        keys += [shard.keys[row] for row in rows]
        vectors.append(shard.vectors[rows])
        start += len(shard.keys)
    # Those of an older space are searched as they lie there: whether the index finds them is the question here.
    return Embeddings(np.concatenate(vectors), shards.manifest.space, tuple(keys))


def _recalls(gallery: Gallery, shards: ShardSet, sample: Embeddings) -> tuple[float, float]:
    depth = min(DEPTH, len(gallery))
    hits = gallery.search(sample, depth)
    best = np.full((len(sample), depth), -np.inf)
    true: list[dict[str, float]] = [{} for _ in hits]  # exact scores of what the store found
    for shard in shards:
        scores: NDArray[np.float64] = sample.vectors.astype(np.float64) @ shard.vectors.T.astype(np.float64)
        best = -np.sort(-np.concatenate([best, scores], axis=1), axis=1)[:, :depth]
        row_of = {key: row for row, key in enumerate(shard.keys)}
        for query, found in enumerate(hits):
            here = [hit.key for hit in found if hit.key in row_of]
            true[query].update({key: float(scores[query, row_of[key]]) for key in here})
    # By score, not by key: two pictures may be the same, and either is right.
    found_self = [
        bool(found) and true[query].get(found[0].key, -np.inf) >= best[query, 0] - TIE_MARGIN
        for query, found in enumerate(hits)
    ]
    found_best = [
        sum(score >= best[query, -1] - TIE_MARGIN for score in true[query].values()) / depth
        for query in range(len(hits))
    ]
    return float(np.mean(found_self)), float(np.mean(found_best))
