"""Processes that work for a job, whatever they work on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any


def worker_pool(
    workers: int, start: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """A pool of processes that leave Ctrl-C to the job, and end when the job is killed.

    They are new ones, not copies of the job (a copy of a process whose encoder and index have threads may hang), and
    they do not run the caller's script again, as Python's own would: a script needs no ``if __name__ == "__main__"``,
    and a worker imports only what its work needs. So what it works with has to come from an importable module.

    Args:
        workers: processes, at least 1.
        start: what each does before its first task.
        arguments: of ``start``.
    """
    return ProcessPoolExecutor(workers, mp_context=_Context(), initializer=_start, initargs=(start, arguments))


class _Process(SpawnProcess):
    def start(self) -> None:
        # What a new process imports first is the parent's __main__; here it finds one without a file.
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            super().start()
        finally:
            sys.modules["__main__"] = main


class _Context(SpawnContext):
    Process = _Process


def _start(start: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_job, daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with_job() -> None:
    job = multiprocessing.parent_process()
    if job is not None:
        job.join()
        os._exit(1)  # a worker would wait for ever for a task that nobody sends
