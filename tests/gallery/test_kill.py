from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

import pytest

from tests.support import SPACE, linear_bundle


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import kill_jobs

    return kill_jobs


@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_jobs_that_are_killed_end_as_jobs_that_are_not(
    script: ModuleType, fashion_folder: Path, tmp_path: Path
) -> None:
    """A handful of what scripts/kill_jobs.py does."""
    bundle = linear_bundle(tmp_path / "bundle", space=SPACE)
    options = argparse.Namespace(
        images=str(fashion_folder), encoder=bundle, limit=200, shard_rows=32, kills=6, random=1
    )
    trials = script.Trials(options, tmp_path / "work")
    assert trials.writes["build"] == 12  # the plan, six shards, failures, manifest, index, items, gallery.json
    for kill in trials.kills(options.kills, options.random):
        trials.run(kill)
    assert [row["wrong"] for row in trials.rows] == [[]] * 7
    assert {"build", "update", "backfill"} <= {row["job"] for row in trials.rows}
