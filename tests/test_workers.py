from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from hetsearch.workers import worker_pool

SCRIPT = """
import os, signal
from hetsearch.workers import worker_pool

os.write(2, b"begun ")
assert worker_pool(1).submit(abs, -1).result() == 1
os.write(2, b"killed now")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_with_a_killed_job_and_does_not_run_its_script_again(tmp_path: Path) -> None:
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
    assert said.startswith(b"begun killed now")  # Python's own tracker of semaphores may add a line


def test_a_worker_starts_as_it_is_told_and_leaves_ctrl_c_to_the_job(tmp_path: Path) -> None:
    with worker_pool(1, os.chdir, (tmp_path,)) as pool:
        assert pool.submit(os.getcwd).result() == str(tmp_path.resolve())
        assert pool.submit(signal.getsignal, signal.SIGINT).result() == signal.SIG_IGN
