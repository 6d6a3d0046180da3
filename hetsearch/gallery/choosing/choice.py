"""What ``--factory auto`` measured and chose: kept in ``gallery.json`` and in the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from hetsearch.gallery.choosing.limits import Limits

AUTO = "auto"


@dataclass(frozen=True)
class Candidate:
    """One kind of index, and what it costs and finds.

    Attributes:
        factory: its description, with the settings of search.
        bytes: of the index with all vectors, computed.
        removable: whether vectors can be removed from it one by one.
        recall: share of the exact first ten that it finds, among all vectors; None where nothing was measured.
        latency_ms: milliseconds of one query alone, the median, among all vectors; None where nothing was measured.
        sample_recall: what was measured on the sample; ``recall`` is estimated from it where the sample is not all.
        sample_latency_ms: what was measured on the sample.
        missed: the limits that it does not meet.
    """

    factory: str
    bytes: int
    removable: bool
    recall: float | None = None
    latency_ms: float | None = None
    sample_recall: float | None = None
    sample_latency_ms: float | None = None
    missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Confirmed:
    """What the finished index finds among all vectors, and the time it takes.

    Attributes:
        recall: share of the exact first ten that it finds.
        latency_ms: milliseconds of one query alone, the median.
        queries: vectors of the gallery that were searched for.
    """

    recall: float
    latency_ms: float
    queries: int


@dataclass(frozen=True)
class Choice:
    """Which index was chosen, and among what.

    Attributes:
        factory: the chosen one's, with the setting of search that the finished index has.
        limits: that were asked for.
        count: vectors that it was chosen for.
        sample: vectors that were indexed to measure.
        queries: other vectors of the gallery, which were searched for.
        threads: of the searches.
        candidates: all of them, simplest first.
        asked: the factory string that was asked for.
        confirmed: of the finished index, where the candidates' figures are estimates.
    """

    factory: str
    limits: Limits
    count: int
    sample: int
    queries: int
    threads: int
    candidates: tuple[Candidate, ...]
    asked: str = AUTO
    confirmed: Confirmed | None = None

    @property
    def estimated(self) -> bool:
        """Whether recall and latency are carried over from a sample to more vectors than it has."""
        return self.count > self.sample + self.queries

    def as_dict(self) -> dict[str, Any]:
        """The choice as a JSON document."""
        return {**asdict(self), "estimated": self.estimated}
