from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetsearch.data.sides import Sides
from hetsearch.errors import HetsearchError
from hetsearch.models.search_space import SearchSpace, Stage
from hetsearch.nas import rewards
from hetsearch.nas.config import RewardConfig
from hetsearch.nas.rewards import Judge, Scorer, reward_of
from hetsearch.nas.supernet import build_supernet
from tests.nas.conftest import SPEC


def test_the_three_rewards() -> None:
    metrics = {"map": 0.5, "p@1": 0.6, "homogeneous_map": 0.25, "homogeneous_p@1": 0.75}
    assert reward_of(metrics, RewardConfig(kind="R1")) == 0.25
    assert reward_of(metrics, RewardConfig(kind="R2", metric="p@1")) == 0.6
    assert reward_of(metrics, RewardConfig(kind="R3")) == 0.125


@pytest.fixture
def judge() -> Judge:
    """Six images of two labels that nothing is measured with."""
    rows = np.arange(6)
    keys, labels = np.array([f"{row}.png" for row in rows]), np.array(["a", "b"] * 3)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1, 4, 4)).astype(np.uint8)
    sides = Sides("leave-one-out", rows, rows, keys, labels, None)
    return Judge(pixels, 3, pixels[::-1].copy(), np.eye(6, dtype=np.float32), sides)


@pytest.mark.parametrize(
    "other",
    [
        {"labels": np.array(["a", "a", "b"] * 2)},
        {"groups": np.array(["x", "y"] * 3)},
        {"protocol": "roles", "query_rows": np.arange(3), "gallery_rows": np.arange(3, 6)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_was_measured_by_another_protocol_is_not_remembered(judge: Judge, other: dict[str, Any]) -> None:
    assert replace(judge, sides=replace(judge.sides)).fingerprint() == judge.fingerprint()
    assert replace(judge, sides=replace(judge.sides, **other)).fingerprint() != judge.fingerprint()


@pytest.mark.parametrize("name", ["calibration", "validation", "gallery"])
def test_what_was_measured_on_other_images_is_not_remembered(judge: Judge, name: str) -> None:
    assert replace(judge, **{name: getattr(judge, name)[::-1].copy()}).fingerprint() != judge.fingerprint()
    assert replace(judge, batch_size=2).fingerprint() != judge.fingerprint()
    assert replace(judge, gallery=None).fingerprint() != judge.fingerprint()


def test_a_dead_process_is_no_traceback(judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_supernet(SearchSpace(stages=(Stage(width=4),), choices=("conv3",)), dim=2, spec=SPEC)
    monkeypatch.setattr(rewards, "load_supernet", lambda folder: (network, None))
    monkeypatch.setattr(rewards, "_start", _end)
    scorer = Scorer(tmp_path, judge, RewardConfig(), tmp_path, 2)
    with closing(scorer), pytest.raises(HetsearchError, match=r"was ended: observed 2 processes.*search\.processes"):
        scorer.rewards(["c3"])


def _end(supernet: Path, judge: Judge) -> None:
    os._exit(1)
