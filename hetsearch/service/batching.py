"""Dynamic batching: what waits together is done together, in one thread, off the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from hetsearch.service.errors import busy

T = TypeVar("T")
R = TypeVar("R")


class Slots:
    """How many pictures may be in the house at once. Who finds no room is refused at once; nobody waits at the door.

    Args:
        total: how many.
        what: what is counted, where it is not pictures.
    """

    def __init__(self, total: int, what: str = "pictures") -> None:
        self._free, self._what = total, what
        self.total = total

    @property
    def taken(self) -> int:
        """How many are in the house."""
        return self.total - self._free

    @contextmanager
    def take(self, count: int = 1) -> Iterator[None]:
        """Hold ``count`` places; whatever ends the block, a client that goes away too, gives them back.

        Raises:
            Refusal: 503, there are not as many.
        """
        if count > self._free:
            raise busy("queue_full", f"{self.taken} {self._what} are waiting, of at most {self.total}")
        self._free -= count
        try:
            yield
        finally:
            self._free += count


@dataclass(frozen=True)
class _Job(Generic[T, R]):
    item: T
    answer: asyncio.Future[R]


class Batcher(Generic[T, R]):
    """Takes what waits, up to a number, and does it in one call.

    Args:
        run: items → for each its answer, or the error that is raised to whoever asked. Called in one thread.
        most: items in one call.
        wait: seconds to wait for more after the first; 0 takes what is there.
        observe: takes the seconds of a call and the number of its items.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Sequence[R | Exception]],
        *,
        most: int,
        wait: float = 0.0,
        observe: Callable[[float, int], None] = lambda seconds, count: None,
    ) -> None:
        self._run, self._most, self._wait, self._observe = run, most, wait, observe
        self._queue: asyncio.Queue[_Job[T, R]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many items nobody has begun with; those whose client has gone count until their turn."""
        return self._queue.qsize()

    @property
    def alive(self) -> bool:
        """Whether what is asked will be answered."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """End, once every request is answered: what still waits will not be."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._thread.shutdown()

    async def ask(self, item: T) -> R:
        """The answer to one item. A caller that is cancelled takes its item out of the queue."""
        job = _Job[T, R](item, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(job)
        return await job.answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not (jobs := await self._take()):
                continue
            try:
                answers = await loop.run_in_executor(self._thread, self._timed, [job.item for job in jobs])
            except Exception as error:  # noqa: BLE001  whatever it was, those who asked must hear of it
                answers = [error] * len(jobs)
            for job, answer in zip(jobs, answers, strict=True):
                if job.answer.done():  # its client went away meanwhile
                    continue
                if isinstance(answer, Exception):
                    job.answer.set_exception(answer)
                else:
                    job.answer.set_result(answer)

    async def _take(self) -> list[_Job[T, R]]:
        jobs = [await self._queue.get()]
        if self._wait:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait):
                    while len(jobs) < self._most:
                        jobs.append(await self._queue.get())
        jobs = [job for job in jobs if not job.answer.done()]
        while len(jobs) < self._most and not self._queue.empty():
            job = self._queue.get_nowait()
            if not job.answer.done():
                jobs.append(job)
        return jobs

    def _timed(self, items: list[T]) -> Sequence[R | Exception]:
        begin = time.perf_counter()
        answers = self._run(items)
        if len(answers) != len(items):  # said here, else those without an answer would wait for ever
            raise ValueError(f"{len(answers)} answers to {len(items)} questions")
        self._observe(time.perf_counter() - begin, len(items))
        return answers
