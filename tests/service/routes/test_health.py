from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

import hetsearch
from hetsearch.service.app import create_app
from hetsearch.service.settings import Settings
from tests.service.serving import Service, problem
from tests.support import SPACE


def test_probes(service: Service) -> None:
    for path in ("/v2/health/live", "/v2/health/ready"):
        answer = service.http.get(path)
        assert (answer.status_code, answer.content) == (200, b"")
    for path in ("/health", "/ping"):
        assert service.http.get(path).json() == {
            "status": "ready", "version": hetsearch.__version__, "model": "tiny", "space": SPACE, "items": 200,
            "generation": 1,
        }  # fmt: skip


def test_not_ready_before_the_start_and_after_the_end(settings: Settings) -> None:
    app = create_app(settings)

    async def refused(http: httpx.AsyncClient) -> None:
        assert (await http.get("/v2/health/live")).status_code == 200
        answer = await http.get("/v2/health/ready")
        assert problem(answer) == (503, "not_ready")
        assert answer.headers["retry-after"] == "1"
        assert problem(await http.post("/v1/search", json={})) == (503, "not_ready")

    async def run() -> None:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            await refused(http)
            async with app.router.lifespan_context(app):
                assert (await http.get("/v2/health/ready")).status_code == 200
            await refused(http)

    asyncio.run(run())


def numbers(service: Service) -> dict[str, float]:
    lines = [line for line in service.http.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_metrics_count_what_was_asked(service: Service, pictures: list[Path]) -> None:
    before = numbers(service)
    for _ in range(3):
        service.http.post("/v1/search", files={"image": pictures[0].read_bytes()})
    service.http.post("/v1/search", json={})
    service.http.get("/some/where/else")
    after = numbers(service)

    def grown(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert grown('hetsearch_requests_total{route="/v1/search",status="200"}') == 3
    assert grown('hetsearch_requests_total{route="/v1/search",status="422"}') == 1
    assert grown('hetsearch_requests_total{route="other",status="404"}') == 1
    assert grown('hetsearch_request_seconds_count{route="/v1/search"}') == 4
    assert grown("hetsearch_decode_seconds_count") == 3
    assert grown("hetsearch_batch_size_sum") == 3
    assert grown("hetsearch_inference_seconds_count") == 3
    assert grown("hetsearch_search_seconds_count") == 3
    assert after["hetsearch_queue_depth"] == 0
    assert after["hetsearch_gallery_items"] == 200
    info = f'hetsearch_model_info{{model="tiny",space="{SPACE}",version="{hetsearch.__version__}"}}'
    assert after[info] == 1
