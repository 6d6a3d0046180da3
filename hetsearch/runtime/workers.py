"""How a process of a pool behaves, whatever it works on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading


def start_worker() -> None:
    """What a worker does first: leave Ctrl-C to the job, and end when the job is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_job, daemon=True).start()


def _end_with_job() -> None:
    job = multiprocessing.parent_process()
    if job is not None:
        job.join()
        os._exit(1)  # a worker would wait for ever for a task that nobody sends
