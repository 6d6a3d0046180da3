"""How many cores a job may use."""

from __future__ import annotations

import os


def available_threads() -> int:
    """Cores that this process may run on: a container's share, where the system tells, not the whole machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
