"""What an index may cost and must find, in a user's words: ``2GB``, ``5ms``, ``0.95``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hetsearch.errors import UsageError, nearest

SIZES = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
TIMES = {"us": 1e-3, "µs": 1e-3, "ms": 1.0, "s": 1e3}  # in milliseconds
SHOWN = 40  # characters of a number that cannot be
RECALL = 0.95  # where none is asked for


@dataclass(frozen=True)
class Limits:
    """What an index may cost and must find.

    Attributes:
        max_memory: bytes of the whole index.
        max_latency: milliseconds of one query alone, the median.
        min_recall: share of the exact first ten that are found, 0 to 1.
    """

    max_memory: int | None = None
    max_latency: float | None = None
    min_recall: float = RECALL

    def __post_init__(self) -> None:
        if not 0 < self.min_recall <= 1:
            raise UsageError(
                "the least recall is no share", observed=self.min_recall, expected="above 0 and at most 1, such as 0.95"
            )

    @classmethod
    def parse(
        cls, max_memory: str | None = None, max_latency: str | None = None, min_recall: float | None = None
    ) -> Limits | None:
        """The limits that a user wrote; None where there is none.

        >>> Limits.parse("2GB", "0.5s")
        Limits(max_memory=2000000000, max_latency=500.0, min_recall=0.95)

        Raises:
            UsageError: a number, a unit or a share that cannot be.
        """
        if max_memory is None and max_latency is None and min_recall is None:
            return None
        return cls(
            None if max_memory is None else parse_size(max_memory),
            None if max_latency is None else parse_time(max_latency),
            RECALL if min_recall is None else min_recall,
        )

    def missed(self, size: int, latency: float | None = None, recall: float | None = None) -> tuple[str, ...]:
        """The names of the limits that an index does not meet.

        Args:
            size: its bytes.
            latency: milliseconds of a query; None where it is not known.
            recall: share that it finds; None where it is not known.
        """
        wrong = {
            "max_memory": self.max_memory is not None and size > self.max_memory,
            "max_latency": self.max_latency is not None and latency is not None and latency > self.max_latency,
            "min_recall": recall is not None and recall < self.min_recall,
        }
        return tuple(name for name, is_wrong in wrong.items() if is_wrong)

    def __str__(self) -> str:
        words = [f"recall@10 of {self.min_recall:g} or more"]
        if self.max_latency is not None:
            words.append(f"at most {show_time(self.max_latency)} a query")
        if self.max_memory is not None:
            words.append(f"at most {show_size(self.max_memory)}")
        return ", ".join(words)


def parse_size(text: str) -> int:
    """Bytes.

    >>> parse_size("500MB"), parse_size("1.5 GiB")
    (500000000, 1610612736)

    Raises:
        UsageError: it is no size above 0.
    """
    return int(_parse(text, SIZES, "size", "2GB or 500MB"))


def parse_time(text: str) -> float:
    """Milliseconds.

    >>> parse_time("5ms"), parse_time("0.5s")
    (5.0, 500.0)

    Raises:
        UsageError: it is no time above 0.
    """
    return _parse(text, TIMES, "time", "5ms or 0.5s")


def show_size(size: float) -> str:
    """Bytes as a person reads them, and as :func:`parse_size` does.

    >>> show_size(136_000_000), show_size(2e9), show_size(999)
    ('136MB', '2GB', '999B')
    """
    unit = next((name for name in ("TB", "GB", "MB", "kB") if size >= SIZES[name]), "B")
    return f"{_digits(size / SIZES[unit], 4)}{unit}"


def show_time(milliseconds: float) -> str:
    """Milliseconds as a person reads them, and as :func:`parse_time` does.

    >>> show_time(0.25), show_time(5), show_time(1500)
    ('0.25ms', '5ms', '1.5s')
    """
    return f"{_digits(milliseconds / 1e3, 3)}s" if milliseconds >= 1e3 else f"{_digits(milliseconds, 3)}ms"


def _digits(value: float, count: int) -> str:
    return np.format_float_positional(value, precision=count, unique=False, fractional=False, trim="-")


def _parse(text: str, units: Mapping[str, float], what: str, examples: str) -> float:
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([A-Za-zµ]*)\s*", text)
    if found is None:
        raise UsageError(f"'{text}' is no {what}", expected=f"a number and a unit, such as {examples}")
    names = {name.lower(): factor for name, factor in units.items()}
    if found[2].lower() not in names:
        raise UsageError(
            f"'{text}' is no {what}",
            observed=f"the unit '{found[2]}'" if found[2] else "no unit",
            expected=f"a number and a unit, such as {examples}",
            hint=nearest(found[2], units),
        )
    value = float(found[1]) * names[found[2].lower()]
    if not 0 < value < math.inf:
        raise UsageError(f"'{text[:SHOWN]}' is no {what}", observed=value, expected="more than 0, and a finite number")
    return value
