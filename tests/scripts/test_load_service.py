"""The short form of scripts/load_service.py, and the client that it and bench_service.py share."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hetsearch.data.sources import open_source
from hetsearch.gallery import build_gallery
from hetsearch.runtime import load_encoder
from hetsearch.service.settings import Settings
from tests.service.serving import Service, serving
from tests.support import SPACE, linear_bundle


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import load_service

    monkeypatch.setattr(load_service, "PICTURES", 6)
    return load_service


@pytest.fixture
def service(tmp_path: Path, fashion_folder: Path):
    bundle = linear_bundle(tmp_path / "tiny", space=SPACE)
    build_gallery(load_encoder(bundle), open_source(str(fashion_folder)), tmp_path / "g", limit=20, progress=False)
    with serving(Settings(encoder=bundle, gallery=str(tmp_path / "g"))) as started:
        yield started


def test_every_answer_is_compared_with_its_request(scripts: ModuleType, service: Service, tmp_path: Path) -> None:
    asked = scripts.questions(service.url, service.http, load_encoder(tmp_path / "tiny"))
    assert len(asked) == 12
    seen = asyncio.run(scripts.load(service.url, asked, clients=4, seconds=0.2))
    assert (seen.wrong, set(seen.answers)) == ([], {"200"})
    assert len(seen.seconds) == seen.answers["200"] >= 4
    mixed = [replace(one, vector=-one.vector) if one.keys == () else replace(one, keys=("x",)) for one in asked]
    seen = asyncio.run(scripts.load(service.url, mixed, clients=2, seconds=0.1))
    assert len(seen.wrong) == seen.answers["200"] >= 2
    assert any("apart" in reason for reason in seen.wrong)
    assert any("instead of ('x',)" in reason for reason in seen.wrong)


def test_a_connection_is_kept_and_opened_again_after_an_error(scripts: ModuleType) -> None:
    import http_load

    opened: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers two requests; the answer to the third breaks off."""
        opened.append(0)
        try:
            for body in (b"whole", b"whole", b"who"):
                await reader.readuntil(b"{}")
                opened[-1] += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Name:  value\r\n\r\n" + body)
        except asyncio.IncompleteReadError:
            assert opened == [3, 1]  # the client closed the second one
        finally:
            writer.close()

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            connection = http_load.Connection(url)
            request = http_load.post(url, "/path", {})
            for _ in range(2):
                answer = await connection.ask(request)
                assert (answer.status, answer.body, answer.headers["x-name"]) == (200, b"whole", "value")
            with pytest.raises(http_load.LOST):
                await connection.ask(request)
            assert (await connection.ask(request)).body == b"whole"
            connection.close()

    asyncio.run(run())
    assert opened == [3, 1]


def test_a_bench_of_the_service_refuses_wrong_answers(scripts: ModuleType, service: Service, tmp_path: Path) -> None:
    import bench_service

    from hetsearch.errors import HetsearchError

    encoder = load_encoder(tmp_path / "tiny")
    pictures = [bench_service.encoded(np.full((28, 28), level, np.uint8), "PNG") for level in (0, 90)]
    asked = [
        bench_service._question(service.url, blob, vector)
        for blob, vector in zip(pictures, encoder.encode(pictures).vectors, strict=True)
    ]
    row = asyncio.run(bench_service.load(service.url, asked, 3, 0.1))
    assert 0 < row["p50_ms"] <= row["p99_ms"]
    assert row["requests_per_s"] > 0
    wrong = [replace(asked[0], vector=-asked[0].vector)]
    with pytest.raises(HetsearchError, match="answers with another vector"):
        asyncio.run(bench_service.load(service.url, wrong, 1, 0.1))


def test_sigterm_under_load_loses_nothing(scripts: ModuleType, tmp_path: Path, fashion_folder: Path) -> None:
    bundle = linear_bundle(tmp_path / "tiny", space=SPACE)
    build_gallery(load_encoder(bundle), open_source(str(fashion_folder)), tmp_path / "g", limit=20, progress=False)
    seen = scripts.sigterm(str(bundle), str(tmp_path / "g"), clients=4, seconds=0.3)
    assert (seen.lost, seen.wrong, seen.code) == (set(), [], 0), seen.told()
    assert len(seen.before) > 4
    assert seen.before <= seen.logged == seen.answered
    assert "; 0 lost, 0 wrong; exit code 0" in seen.told()


def test_what_is_lost(scripts: ModuleType) -> None:
    """Sent before the signal, or in the log, and not answered; what came later and was not taken is not."""
    sent = {"before": 1.0, "before, lost": 2.0, "after": 4.0, "after, lost": 5.0, "after, not taken": 6.0}
    logged = {"before", "after", "after, lost"}
    seen = scripts.Ending(signalled=3.0, sent=sent, answered={"before", "after"}, logged=logged)
    assert seen.lost == {"before, lost", "after, lost"}
