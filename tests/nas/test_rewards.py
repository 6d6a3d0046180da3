from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hetsearch.data.sides import Sides
from hetsearch.errors import HetsearchError
from hetsearch.models.search_space import SearchSpace, Stage
from hetsearch.models.torch_encoder import TorchEncoder
from hetsearch.nas import rewards
from hetsearch.nas.config import RewardConfig
from hetsearch.nas.paths import Paths
from hetsearch.nas.rewards import Judge, Scorer, reward_of
from hetsearch.nas.supernet import build_supernet, calibrate, cut_out
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


def test_an_architecture_is_measured_as_a_query_encoder_would_be(paths: Paths) -> None:
    random = np.random.default_rng(3)
    rows, labels = np.arange(24), np.array(["a", "b", "c"] * 8)
    pixels = random.integers(0, 256, (64, 1, 12, 12)).astype(np.uint8)
    sides = Sides("leave-one-out", rows, rows, np.array([f"{row}.png" for row in rows]), labels, None)
    gallery = random.normal(size=(24, paths.dim)).astype(np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    torch.manual_seed(0)
    supernet = build_supernet(paths.space, dim=paths.dim, spec=SPEC).eval()
    found = Judge(pixels, 16, pixels[:24], gallery, sides).measure(supernet, "c3-s3w50-c3-skip")

    alone = cut_out(supernet, "c3-s3w50-c3-skip")
    before = TorchEncoder(alone.eval(), name="", space="").encode_pixels(pixels[:24])
    calibrate(alone, torch.from_numpy(pixels), batch_size=16)
    vectors = TorchEncoder(alone, name="", space="").encode_pixels(pixels[:24])
    assert np.abs(vectors - before).max() > 1e-3  # without statistics of its own it is another network
    for prefix, items in (("", gallery), ("homogeneous_", vectors)):
        expected = [slow_average_precision(row, vectors, items, labels) for row in rows]
        assert found[f"{prefix}map"] == pytest.approx(np.mean(expected), abs=1e-5)
    swapped = [slow_average_precision(row, gallery, vectors, labels) for row in rows]
    assert abs(found["map"] - np.mean(swapped)) > 1e-3  # M(q, g) is not M(g, q)


def slow_average_precision(row: int, queries: np.ndarray, items: np.ndarray, labels: np.ndarray) -> float:
    """Of one query against all items but its own."""
    order = [item for item in np.argsort(-(items @ queries[row]), kind="stable") if item != row]
    right = labels[order] == labels[row]
    return float(np.mean((np.cumsum(right) / np.arange(1, len(order) + 1))[right]))


def test_what_was_measured_with_other_weights_is_not_remembered(
    judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build_supernet(SearchSpace(stages=(Stage(width=4),), choices=("conv3",)), dim=2, spec=SPEC)
    monkeypatch.setattr(rewards, "load_supernet", lambda folder: (network, None))
    first, again = (Scorer(tmp_path, judge, RewardConfig(kind=kind), tmp_path, 1).path for kind in ("R1", "R3"))
    assert first == again  # all rewards are made from the same numbers
    with torch.no_grad():
        network.embedding.bias += 1
    assert Scorer(tmp_path, judge, RewardConfig(), tmp_path, 1).path != first


def test_a_damaged_line_is_measured_again(judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_supernet(SearchSpace(stages=(Stage(width=4),), choices=("conv3",)), dim=2, spec=SPEC)
    monkeypatch.setattr(rewards, "load_supernet", lambda folder: (network, None))
    path = Scorer(tmp_path, judge, RewardConfig(), tmp_path, 1).path
    whole = '{"arch": "c3", "map": 0.5, "homogeneous_map": 0.5}\n'
    path.write_text(whole + '{"arch": "c\n' + '["c3"]\n' + '{"map": 1}\n' + '{"arch": "c3", "map": "x"}\n' + "{")
    scorer = Scorer(tmp_path, judge, RewardConfig(), tmp_path, 1)
    assert scorer.known == {"c3": {"map": 0.5, "homogeneous_map": 0.5}}
    assert path.read_text() == whole
