from __future__ import annotations

import json
from pathlib import Path

import pytest

from hetsearch.data.pixels import Failure
from hetsearch.gallery import BuildReport
from tests.support import SPACE


def report_of(*failures: Failure, done_before: bool = False) -> BuildReport:
    return BuildReport(
        gallery=Path("g"), space=SPACE, encoder="e", store="faiss", factory="Flat", rows=9,
        failures=failures, seconds=2.0, bytes=100, done_before=done_before, embedded=0 if done_before else 10,
    )  # fmt: skip


@pytest.mark.parametrize("done_before", [False, True])
def test_unreadable_images_give_3_also_when_the_job_is_repeated(done_before: bool) -> None:
    assert report_of(done_before=done_before).exit_code == 0
    assert report_of(Failure("a", "empty"), done_before=done_before).exit_code == 3


def test_the_speed_counts_what_was_read() -> None:
    assert report_of(Failure("a", "empty")).images_per_second == 5.0
    assert report_of(done_before=True).images_per_second is None


def test_the_document() -> None:
    document = json.loads(json.dumps(report_of(Failure("a", "empty")).as_dict()))
    assert (document["gallery"], document["images_per_second"]) == ("g", 5.0)
    assert document["failures"] == [{"key": "a", "reason": "empty"}]
