from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from hetsearch.service.batching import Batcher, Slots
from hetsearch.service.errors import Refusal


def with_batcher(batcher: Batcher, test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        batcher.start()
        assert batcher.alive
        try:
            await test()
        finally:
            await batcher.stop()
        assert not batcher.alive

    asyncio.run(run())


class Held:
    """Notes its calls; the first waits until it is let go, so that others queue behind it."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, items: list[int]) -> list[int]:
        self.calls.append(items)
        if len(self.calls) == 1:
            self.begun.set()
            assert self.go.wait(60)
        return [item * item for item in items]

    async def first(self, batcher: Batcher) -> asyncio.Task[int]:
        task = asyncio.ensure_future(batcher.ask(0))
        await asyncio.to_thread(self.begun.wait, 60)
        return task


def test_what_waits_is_done_together_and_each_gets_its_own() -> None:
    held = Held()
    batcher = Batcher(held, most=4)

    async def test() -> None:
        first = await held.first(batcher)
        others = [asyncio.ensure_future(batcher.ask(item)) for item in range(1, 11)]
        await asyncio.sleep(0)
        assert batcher.waiting == 10
        held.go.set()
        assert await asyncio.gather(first, *others) == [item * item for item in range(11)]

    with_batcher(batcher, test)
    assert held.calls == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9, 10]]


def test_one_alone_does_not_wait_and_its_seconds_are_told() -> None:
    seen = []
    batcher = Batcher(lambda items: items, most=4, observe=lambda seconds, count: seen.append((seconds, count)))

    async def test() -> None:
        assert await batcher.ask(7) == 7

    with_batcher(batcher, test)
    [(seconds, count)] = seen
    assert seconds >= 0
    assert count == 1


def test_who_waits_for_more_goes_when_it_is_full() -> None:
    held = Held()
    held.go.set()
    batcher = Batcher(held, most=2, wait=3600)

    async def test() -> None:
        assert await asyncio.gather(*map(batcher.ask, (1, 2, 3, 4))) == [1, 4, 9, 16]

    with_batcher(batcher, test)
    assert held.calls == [[1, 2], [3, 4]]


def test_who_waits_for_more_does_not_wait_for_ever() -> None:
    held = Held()
    held.go.set()
    batcher = Batcher(held, most=64, wait=0.001)

    async def test() -> None:
        assert await batcher.ask(3) == 9

    with_batcher(batcher, test)


def test_nobody_works_for_a_client_that_has_gone() -> None:
    held = Held()
    batcher = Batcher(held, most=4)

    async def test() -> None:
        first = await held.first(batcher)
        gone = [asyncio.ensure_future(batcher.ask(item)) for item in (1, 2, 3, 4)]
        stays = asyncio.ensure_future(batcher.ask(5))
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        first.cancel()  # while it is being worked on
        await asyncio.sleep(0)
        held.go.set()
        assert await stays == 25
        assert all(task.cancelled() for task in (first, *gone))

    with_batcher(batcher, test)
    assert held.calls == [[0], [5]]


def test_an_error_is_raised_to_whoever_asked_and_the_next_is_answered() -> None:
    def run(items: list[int]) -> list[int | Exception]:
        if 13 in items:
            raise RuntimeError("all of them")
        return [ValueError(f"only {item}") if item < 0 else item for item in items]

    batcher = Batcher(run, most=8)

    async def test() -> None:
        found = await asyncio.gather(*map(batcher.ask, (1, -2, 3)), return_exceptions=True)
        assert (found[0], found[2]) == (1, 3)
        assert isinstance(found[1], ValueError)
        with pytest.raises(RuntimeError, match="all of them"):
            await batcher.ask(13)
        assert await batcher.ask(14) == 14

    with_batcher(batcher, test)


def test_who_gets_no_answer_hears_of_it() -> None:
    """Were it the last thing that a batcher does, everybody after it would wait for ever."""
    batcher = Batcher(lambda items: items[1:], most=8)

    async def test() -> None:
        for _ in range(2):
            found = await asyncio.gather(*map(batcher.ask, (1, 2)), return_exceptions=True)
            assert [str(error) for error in found] == ["1 answers to 2 questions"] * 2
        assert batcher.alive

    with_batcher(batcher, test)


def test_slots_are_given_back_whatever_happens() -> None:
    slots = Slots(3)
    with slots.take(2), slots.take():
        assert slots.taken == 3
        with pytest.raises(Refusal, match="3 pictures are waiting, of at most 3") as caught, slots.take():
            pass
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
        with slots.take(0):
            assert slots.taken == 3
    assert slots.taken == 0
    with pytest.raises(KeyError), slots.take(3):
        raise KeyError
    assert slots.taken == 0
