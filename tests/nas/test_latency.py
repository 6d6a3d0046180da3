from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hetsearch.errors import DamagedArtifact
from hetsearch.models.cost import macs_and_output
from hetsearch.models.network import EncoderNetwork
from hetsearch.nas import latency
from hetsearch.nas.costs import LATENCY, MACS, Budget
from hetsearch.nas.paths import Paths

OVERHEAD = 0.01


def test_the_table_adds_up_to_whole_networks(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[nn.Module] = []

    def time_of(module: nn.Module, example: Tensor) -> float:
        # A machine on which time is MACs, sessions cost something, and whole networks are slower by a fifth.
        timed.append(module)
        whole = 1.2 if isinstance(module, EncoderNetwork) else 1.0
        return OVERHEAD + whole * macs_and_output(module, example)[0] * 1e-6

    monkeypatch.setattr(latency, "time_of", time_of)
    table = latency.LatencyTable(tmp_path / "latencies.json")
    budget = Budget(latency_ms=0.05)
    costs, error = latency.measure_latencies(paths, budget, table, seed=0)
    assert error.networks == latency.WHOLE // 2
    assert error.worst < 0.1
    rows = costs.of(paths.draw(np.random.default_rng(0), 30))
    np.testing.assert_allclose(rows[:, LATENCY], OVERHEAD + 1.2e-6 * rows[:, MACS], rtol=0.1)
    count = len(timed)
    again, same = latency.measure_latencies(paths, budget, latency.LatencyTable(table.path), seed=0)
    assert len(timed) == count  # a resumed search does not measure again
    assert same == error
    np.testing.assert_array_equal(again.fixed, costs.fixed)


def test_a_budget_that_only_the_corrected_sums_keep_is_no_mistake(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_of(module: nn.Module, example: Tensor) -> float:
        # Blocks by themselves take five times what they take in a network.
        macs = macs_and_output(module, example)[0]
        return 1e-9 * macs if isinstance(module, EncoderNetwork) else 5e-9 * macs

    monkeypatch.setattr(latency, "time_of", time_of)
    table = latency.LatencyTable(tmp_path / "latencies.json")
    budget = Budget(latency_ms=1.5e-9 * paths.costs.smallest()[MACS])
    costs, _ = latency.measure_latencies(paths, budget, table, seed=0)
    budget.check(costs)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_block_is_timed_by_onnx_runtime(paths: Paths) -> None:
    assert latency.time_of(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)) > 0


@pytest.mark.parametrize("damage", ['{"schema": 1}', '{"schema": 1, "milliseconds": {"a": "fast"}}'])
def test_a_damaged_table_is_no_traceback(tmp_path: Path, damage: str) -> None:
    (tmp_path / "latencies.json").write_text(damage)
    with pytest.raises(DamagedArtifact, match=r"latencies\.json' is damaged.*Remove it"):
        latency.LatencyTable(tmp_path / "latencies.json")


def test_a_poor_table_is_told() -> None:
    assert "off by 30.0% on average" in latency.LatencyError(8, 0.3, 0.5, -0.1).sentence()
    assert "a poor budget" in latency.LatencyError(8, 0.3, 0.5, -0.1).sentence()
    assert "a poor budget" not in latency.LatencyError(8, 0.05, 0.1, 0.0).sentence()
