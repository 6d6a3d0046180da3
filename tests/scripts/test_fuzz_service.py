"""The short form of scripts/fuzz_service.py: 300 requests, most of them broken, against a real service."""

from __future__ import annotations

from pathlib import Path

import pytest

from hetsearch.data.sources import open_source
from hetsearch.gallery import build_gallery
from hetsearch.runtime import load_encoder
from hetsearch.service.settings import Settings
from tests.service.serving import serving
from tests.support import SPACE, linear_bundle


def test_no_request_breaks_the_service(
    tmp_path: Path, fashion_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import fuzz_service

    bundle = linear_bundle(tmp_path / "tiny", space=SPACE)
    build_gallery(load_encoder(bundle), open_source(str(fashion_folder)), tmp_path / "g", limit=20, progress=False)
    with serving(Settings(encoder=bundle, gallery=str(tmp_path / "g"))) as service:
        statuses, wrong = fuzz_service.fuzz(service.http, 300)
        assert wrong == []
        assert {200, 400, 404, 405, 413, 415, 422} <= set(statuses)
        service.until(0)
        made = fuzz_service.Fuzz(1, "tiny", SPACE, 16, 28)
        sent = [made.broken_tensor() for _ in range(100)]
        answers = [service.http.post(one.path, content=one.content, headers=one.headers) for one in sent]
        assert [answer for answer in answers if fuzz_service.wrong_about(answer)] == []
        assert {answer.status_code for answer in answers} == {200, 400, 422}
        assert {"application/octet-stream", "application/json"} == {a.headers["content-type"] for a in answers}
