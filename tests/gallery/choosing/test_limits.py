from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hetsearch.errors import UsageError
from hetsearch.gallery.choosing.limits import Limits, parse_size, parse_time, show_size, show_time


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("500MB", 5 * 10**8), ("1.5GiB", 1.5 * 2**30), (" 10 kb ", 10_000), (".5TB", 5 * 10**11),
     ("7B", 7), ("3MIB", 3 * 2**20)],
)  # fmt: skip
def test_sizes(text: str, size: float) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "time"), [("5ms", 5), ("0.5s", 500), ("250us", 0.25), ("250µs", 0.25), ("1 S", 1000)])
def test_times(text: str, time: float) -> None:
    assert parse_time(text) == pytest.approx(time)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2", "'2' is no size: observed no unit, expected a number and a unit, such as 2GB"),
        ("2GBB", "observed the unit 'GBB'.*Did you mean 'GB'.*Known: B, GB, GiB"),
        ("2ms", "observed the unit 'ms'"),
        ("GB", "'GB' is no size: expected"),
        ("-2GB", "is no size"),
        ("2,5GB", "is no size"),
        ("1e9B", "is no size"),
        ("", "'' is no size"),
        ("0GB", "observed 0.0, expected more than 0"),
        ("9" * 400 + "GB", "observed inf, expected more than 0, and a finite number"),
    ],
)
def test_what_is_no_size(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        Limits.parse(max_memory=text)
    assert caught.value.exit_code == 2


def test_what_is_no_time() -> None:
    with pytest.raises(UsageError, match=r"'5' is no time: observed no unit, expected .* such as 5ms or 0.5s\. Known"):
        Limits.parse(max_latency="5")


@pytest.mark.parametrize("recall", [0, -0.1, 1.01, 95, float("nan")])
def test_what_is_no_recall(recall: float) -> None:
    with pytest.raises(UsageError, match=r"the least recall is no share.*at most 1, such as 0\.95"):
        Limits.parse(min_recall=recall)


def test_limits() -> None:
    assert Limits.parse() is None
    assert Limits.parse("2GB") == Limits(2 * 10**9, None, 0.95)
    limits = Limits.parse("1kB", "5ms", 0.9)
    assert limits is not None
    assert str(limits) == "recall@10 of 0.9 or more, at most 5ms a query, at most 1kB"
    assert limits.missed(1000, 5.0, 0.9) == ()
    assert limits.missed(1001, 5.1, 0.89) == ("max_memory", "max_latency", "min_recall")
    assert limits.missed(1000) == ()
    assert Limits().missed(10**15, 1e9, 0.95) == ()


@given(some.floats(1, 1e14))
def test_what_is_shown_is_parsed_again(size: float) -> None:
    assert parse_size(show_size(size)) == pytest.approx(size, rel=1e-3, abs=1)
    assert parse_time(show_time(size)) == pytest.approx(size, rel=1e-2)
