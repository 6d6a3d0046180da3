from __future__ import annotations

import os
import sys
from pathlib import Path

SCRIPT = """
import multiprocessing, os, signal
from concurrent.futures import ProcessPoolExecutor
from hetsearch.runtime.workers import start_worker

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=start_worker)
    assert pool.submit(abs, -1).result() == 1
    os.write(2, b"killed now")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_with_a_job_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    read, write = os.pipe()
    # The worker holds the pipe's end as well: it is at its end when the worker is gone.
    child = os.posix_spawn(
        sys.executable, [sys.executable, str(script)], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 2)]
    )
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert said.startswith(b"killed now")  # Python's own tracker of semaphores may add a line
