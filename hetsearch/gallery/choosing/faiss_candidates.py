"""The FAISS indexes that ``--factory auto`` chooses among, simplest first, and how their time grows with the vectors.

Exact, then smaller codes that are scanned whole, then inverted files, which scan a part, and last those that can take
new vectors but lose none: HNSW graphs, and codes so short that a finer copy ranks their best again.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from hetsearch.gallery.stores.faiss_kinds import TRAINING_ROWS

POINTS = 39  # training vectors that FAISS asks for of each list
LEAST = 4096  # vectors below which a scan of all is as fast as lists or short codes
NUMBER = 4  # bytes of a float32
LISTS = "{lists}"


@dataclass(frozen=True)
class Kind:
    """A family of indexes, one for each number of vectors.

    Attributes:
        template: FAISS's factory string; ``{lists}`` stands for the number of inverted lists.
        settings: of search, the cheapest first; empty text where there are none.
        dim: length of a vector.
        code: bytes that a scan reads of each vector; None for a graph, which does not scan.
    """

    template: str
    settings: tuple[str, ...]
    dim: int
    code: float | None

    def factory(self, count: int, setting: str = "") -> str:
        """The factory string for ``count`` vectors, with a setting of search."""
        description = self.template.format(lists=lists_for(count))
        return f"{description}@{setting}" if setting else description

    def growth(self, sample: int, count: int, setting: str) -> float:
        """How many times as long a search takes among ``count`` vectors as among ``sample`` of them.

        An estimate from what a search reads: all codes, or all centroids and the lists that are probed. A graph's
        search takes the logarithm. That a larger index fits no cache any more is not in it.
        """
        return self._work(count, setting) / self._work(sample, setting)

    def _work(self, count: int, setting: str) -> float:
        if self.code is None:
            return math.log(max(count, 2))
        if LISTS not in self.template:
            return count * self.code
        lists, probed = lists_for(count), re.search(r"nprobe=(\d+)", setting)
        share = min(1.0, int(probed[1]) / lists) if probed else 1.0
        return lists * self.dim * NUMBER + share * count * self.code


def lists_for(count: int) -> int:
    """How many inverted lists suit ``count`` vectors: a power of two, at most 4 √count, as many as can be trained.

    >>> lists_for(50_000), lists_for(1_000_000), lists_for(10_000_000)
    (512, 2048, 4096)
    """
    most = min(4 * math.sqrt(count), min(count, TRAINING_ROWS) / POINTS)
    return int(2 ** math.floor(math.log2(max(most, 1))))


def kinds(dim: int, count: int, sample: int) -> tuple[Kind, ...]:
    """The kinds of indexes that are worth a try, simplest first.

    Args:
        dim: length of a vector.
        count: vectors that the index will hold.
        sample: vectors that it is measured with.
    """
    graph = Kind("HNSW32", tuple(f"efSearch={2**power}" for power in range(4, 11)), dim, None)
    plain = (Kind("Flat", ("",), dim, dim * NUMBER), Kind("SQ8", ("",), dim, dim))
    if count < LEAST:
        return (*plain, graph)
    probes = tuple(f"nprobe={2**power}" for power in range(int(math.log2(lists_for(sample))) + 1))
    refined = tuple(f"{probe},k_factor_rf={factor}" for probe in probes for factor in (4, 16, 64))
    found = [
        *plain,
        Kind("IVF{lists},Flat", probes, dim, dim * NUMBER),
        Kind("IVF{lists},SQfp16", probes, dim, dim * 2),
        Kind("IVF{lists},SQ8", probes, dim, dim),
        Kind("IVF{lists},RaBitQ4", probes, dim, dim / 2),
        graph,
        Kind("IVF{lists},RaBitQ,Refine(SQ8)", refined, dim, dim / 8),
    ]
    # Four bits for each two numbers; FAISS cuts a vector into pieces of one length only. The r codes what is left of a
    # vector beside its list's centroid: without it the vectors of a dense cluster all have nearly the same code.
    if dim % 2 == 0:
        found.append(Kind(f"IVF{{lists}},PQ{dim // 2}x4fsr,Refine(SQ8)", refined, dim, dim / 4))
    return tuple(found)
