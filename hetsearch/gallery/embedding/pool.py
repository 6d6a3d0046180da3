"""Stretches of a listing, worked on ahead in processes: decoding a picture keeps a core busy, and Python has one.

The listing stays in the job's own process; a worker gets the paths (or pixels) of a few images at a time. Results come
in the order of the listing, and only a few stretches are ahead, so memory does not depend on how many images there are.

A picture may end the process that decodes it, by a decoder's bug or by its size. It is looked for one by one and then
passes for one that cannot be read, and the job goes on; where no picture does it alone, the job stops and says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from hetsearch.data.images import ImageSet
from hetsearch.data.reading import Source
from hetsearch.errors import HetsearchError, ImageError, UsageError
from hetsearch.workers import worker_pool

Result = TypeVar("Result")


def source_of(images: ImageSet, row: int) -> Source:
    """What a set gives for an image, or why it gives nothing."""
    try:
        return images.read(row)
    except ImageError as error:
        return error


def in_order(
    images: ImageSet,
    stretches: Iterable[range],
    function: Callable[..., Result],
    arguments: tuple[object, ...],
    workers: int,
) -> Iterator[tuple[range, Result]]:
    """What ``function(sources, *arguments)`` gives for the sources of each stretch, stretch by stretch.

    Args:
        images: what is worked on.
        stretches: positions; one stretch is done by one worker.
        function: of a module, so that it can be sent to a process.
        arguments: more of what it takes.
        workers: processes; 0 works here.

    Raises:
        HetsearchError: a worker died, and no single image makes it die.
    """
    if workers < 0:
        raise UsageError("the number of workers is wrong", observed=workers, expected="0 or more")
    tasks = ((rows, [source_of(images, row) for row in rows]) for rows in stretches)
    if not workers:
        for rows, sources in tasks:
            yield rows, function(sources, *arguments)
        return
    pool = _Pool(images, function, arguments, workers)
    try:
        for rows, sources in tasks:
            pool.submit(rows, sources)
            if len(pool) > 2 * workers:
                yield pool.first()
        while len(pool):
            yield pool.first()
    finally:
        pool.close()


@dataclass
class _Task(Generic[Result]):
    rows: range
    sources: list[Source]
    future: Future[Result]

    @property
    def lost(self) -> bool:
        return not self.future.done() or self.future.cancelled() or self.future.exception() is not None


class _Pool(Generic[Result]):
    """Processes, and the stretches that they have been given; see :func:`in_order`."""

    def __init__(
        self, images: ImageSet, function: Callable[..., Result], arguments: tuple[object, ...], workers: int
    ) -> None:
        self._images, self._function, self._arguments, self._workers = images, function, arguments, workers
        self._waiting: deque[_Task[Result]] = deque()
        self._processes = worker_pool(workers)

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, rows: range, sources: list[Source]) -> None:
        """Give a stretch to a worker."""
        try:
            future = self._sent(self._processes, sources)
        except BrokenProcessPool:  # by a stretch before this one
            self._mend()
            future = self._sent(self._processes, sources)
        self._waiting.append(_Task(rows, sources, future))

    def first(self) -> tuple[range, Result]:
        """The stretch that waits longest, as soon as it is done."""
        while True:
            task = self._waiting[0]
            try:
                result = task.future.result()
            except BrokenProcessPool:
                self._mend()
            else:
                self._waiting.popleft()
                return task.rows, result

    def close(self) -> None:
        """End the processes; what is not begun is not done."""
        self._processes.shutdown(wait=True, cancel_futures=True)

    def _sent(self, processes: ProcessPoolExecutor, sources: list[Source]) -> Future[Result]:
        return processes.submit(self._function, sources, *self._arguments)

    def _mend(self) -> None:
        """Start the processes again without the images that ended one."""
        self.close()
        lost = [task for task in self._waiting if task.lost]
        # A pool hands out one stretch more than it has workers; the images that ended one are among these.
        suspects = lost[: self._workers + 1]
        deadly = 0
        for task in suspects:
            for at in self._deadly(task.sources):
                task.sources[at] = ImageError("the process that read the image died", hint="Make it anew.")
                deadly += 1
        if not deadly:
            raise _unexplained(self._images, [task.rows for task in suspects])
        self._processes = worker_pool(self._workers)
        for task in lost:
            task.future = self._sent(self._processes, task.sources)

    def _deadly(self, sources: list[Source]) -> Iterator[int]:
        """The places of the images that end a process which reads nothing else at the time."""
        processes = worker_pool(1)
        try:
            processes.submit(abs, 0).result()
        except BrokenProcessPool:
            raise HetsearchError(
                "a worker process ends before it reads anything",
                hint="Is there memory for it? '--workers 0' (workers=0) reads the images in the job's own process.",
            ) from None
        for at, source in enumerate(sources):
            try:
                self._sent(processes, [source]).result()
            except BrokenProcessPool:
                yield at
                processes.shutdown()
                processes = worker_pool(1)
        processes.shutdown()


def _unexplained(images: ImageSet, stretches: list[range]) -> HetsearchError:
    first, last = images.keys[stretches[0][0]], images.keys[stretches[-1][-1]]
    return HetsearchError(
        "a worker process died while it read images",
        observed=f"among the {sum(map(len, stretches)):,} images '{first}' to '{last}', of which none does it alone",
        expected="images that can be decoded in the memory there is",
        hint="What was embedded before is kept, and the same command goes on from there. Fewer '--workers' need less "
        "memory; 0 reads the images in the job's own process.",
    )
