from __future__ import annotations

from pathlib import Path

import numpy as np

from hetsearch.data.pixels import Failure
from hetsearch.gallery.omitted import read_failures, read_tombstones, write_failures, write_tombstones


def test_failures_come_back(tmp_path: Path) -> None:
    for failures in ((), (Failure("ä.png", "truncated"), Failure("b.png", "empty"))):
        write_failures(tmp_path, failures)
        assert read_failures(tmp_path) == failures


def test_tombstones_come_back_sorted(tmp_path: Path) -> None:
    assert write_tombstones(tmp_path, {"b": np.array([4, 1]), "a": np.array([0])}, 3) == "tombstones-00003.parquet"
    found = read_tombstones(tmp_path, 3)
    assert {name: rows.tolist() for name, rows in found.items()} == {"b": [1, 4], "a": [0]}
