from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from starlette.types import Message, Receive, Scope, Send

from hetsearch.service.app import create_app
from hetsearch.service.batching import Slots
from hetsearch.service.middleware import Guard
from hetsearch.service.settings import Settings
from tests.service.serving import WAIT, Service, data_uri, problem, serving

KEY = "s3cret-key"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (b"{", JSON, (400, "malformed_body")),
        (b"", JSON, (400, "malformed_body")),
        (b"\xff\xfe{}", JSON, (400, "malformed_body")),
        (b'{"input": "\\ud800"}', JSON, (400, "malformed_body")),
        (b"[" * 20_000, JSON, (400, "malformed_body")),
        (b"{}", {}, (415, "unsupported_body")),
        (b"{}", {"content-type": "text/plain"}, (415, "unsupported_body")),
        (b"input=x", {"content-type": "application/x-www-form-urlencoded"}, (415, "unsupported_body")),
        (b"x", {"content-type": "multipart/form-data"}, (400, "malformed_body")),
        (b"x", {"content-type": "multipart/form-data; boundary=y"}, (400, "malformed_body")),
        (b"--y\r\n\r\n", {"content-type": "multipart/form-data; boundary=y"}, (400, "malformed_body")),
        (b"x" * 200_001, JSON, (413, "body_too_large")),
        (b"{}", {**JSON, "content-encoding": "gzip"}, (415, "unsupported_body")),
        (b"{}", {**JSON, "content-encoding": "identity"}, (422, "invalid_request")),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/search"])
def test_bodies(service: Service, path: str, content: bytes, headers: dict, expected: tuple[int, str]) -> None:
    assert problem(service.http.post(path, content=content, headers=headers)) == expected


def test_a_body_that_does_not_say_its_length_is_counted(service: Service) -> None:
    def endless():
        for _ in range(100):
            yield b"x" * 10_000

    answer = service.http.post("/v1/search", content=endless(), headers=JSON)
    assert problem(answer) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/nothing", (404, "not_found")),
        ("POST", "/v1/nothing", (404, "not_found")),
        ("GET", "/page/nothing.js", (404, "not_found")),
        ("GET", "/page/../app.py", (404, "not_found")),
        ("GET", "/page/..%2fapp.py", (404, "not_found")),
        ("GET", "/v1/search", (405, "method_not_allowed")),
        ("DELETE", "/v1/models", (405, "method_not_allowed")),
    ],
)
def test_one_shape_for_unknown_paths_and_methods(
    service: Service, method: str, path: str, expected: tuple[int, str]
) -> None:
    answer = service.http.request(method, path)
    assert problem(answer) == expected
    if expected[0] == 405:
        assert answer.headers["allow"]


def test_no_other_site_shows_what_is_answered(service: Service) -> None:
    for path in ("/", "/v1/models", "/v1/items/class-1/000.png/image", "/nothing"):
        assert service.http.get(path).headers["cross-origin-resource-policy"] == "same-site"


def test_request_ids_go_in_and_out(service: Service) -> None:
    assert service.http.get("/health", headers={"X-Request-ID": "trace:42"}).headers["x-request-id"] == "trace:42"
    for bad in ("", "two words", "x" * 129, 'q"uote'):
        assert len(service.http.get("/health", headers={"X-Request-ID": bad}).headers["x-request-id"]) == 32


def test_the_log_has_a_line_for_each_request(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="hetsearch.service"):
        service.http.get("/v1/items/secret-name/image", headers={"X-Request-ID": "r1"})
        service.http.get("/health")  # once this is answered, the line before has been written
    [record] = [record for record in caplog.records if getattr(record, "status", None) == 404]
    assert (record.getMessage(), record.method, record.route) == ("request", "GET", "/v1/items/{key:path}/image")
    assert record.ms > 0


def test_another_host_name_is_not_answered(service: Service, settings: Settings) -> None:
    port = urlsplit(service.url).port
    for name in (f"localhost:{port}", f"127.0.0.1:{port}", "LOCALHOST", "[::1]:8000"):
        assert service.http.get("/health", headers={"Host": name}).status_code == 200
    for name in ("evil.example", f"evil.example:{port}", "localhost.evil.example", ""):
        assert problem(service.http.get("/health", headers={"Host": name})) == (421, "unknown_host")


def test_with_a_key_only_probes_and_the_page_are_open(settings: Settings) -> None:
    with serving(settings, KEY) as service:
        for path in ("/health", "/v2/health/live", "/v2/health/ready", "/", "/docs", "/openapi.json", "/page/docs.js"):
            assert service.http.get(path).status_code == 200, path
        given = (KEY, f"Bearer {KEY}x", "Bearer", f"Basic {KEY}", "Bearer é".encode("latin-1"))
        wrong = ({}, *({"Authorization": text} for text in given))
        for path in ("/v1/models", "/metrics", "/v2", "/v1/items/x/image", "/nothing"):
            for headers in wrong:
                answer = service.http.get(path, headers=headers)
                assert problem(answer) == (401, "unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"
        # Where only looking is open, a body is not taken: it would hold a place in the queue.
        for path in ("/v1/search", "/", "/health", "/page/docs.js", "/openapi.json"):
            assert problem(service.http.post(path, content=b"x" * 10)) == (401, "unauthorized")
        other = {"Authorization": f"bearer  {KEY}"}  # the name of a scheme has no case
        assert service.http.get("/v1/models", headers=other).status_code == 200
        right = {"Authorization": f"Bearer {KEY}"}
        document = service.http.get("/openapi.json").json()
        assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
        assert document["paths"]["/v1/search"]["post"]["security"] == [{"HTTPBearer": []}]
        assert service.http.get("/v1/models", headers=right).status_code == 200
        assert problem(service.http.post("/v1/search", json={}, headers=right)) == (422, "invalid_request")


def raw_post(service: Service, body: bytes, length: int | None = None) -> socket.socket:
    host, port = urlsplit(service.url).hostname, urlsplit(service.url).port
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection = socket.create_connection((host, port))
    connection.sendall(f"{head}Content-Length: {length or len(body)}\r\n\r\n".encode() + body)
    return connection


def test_a_full_queue_refuses_and_a_client_that_leaves_frees_its_place(
    settings: Settings, pictures: list[Path]
) -> None:
    """Pictures wait here for an hour for others, so the queue is as full as the test makes it."""
    waiting = {"queue": 3, "batch_wait_ms": 3_600_000, "max_images": 3}
    uri = data_uri(pictures[0].read_bytes())
    with serving(settings.model_copy(update=waiting)) as service:
        two = raw_post(service, json.dumps({"input": [uri, uri]}).encode())
        service.until(2)
        half = raw_post(service, b'{"input":', length=1000)  # its body never comes
        service.until(3)
        answer = service.http.post("/v1/embeddings", json={"input": uri})
        assert problem(answer) == (503, "queue_full")
        assert answer.headers["retry-after"] == "1"
        half.close()
        service.until(2)
        answer = service.http.post("/v1/embeddings", json={"input": [uri, uri]})
        assert problem(answer) == (503, "queue_full")
        service.until(2)
        two.close()
        service.until(0)
        text = service.http.get("/metrics").text
        assert 'hetsearch_requests_total{route="/v1/embeddings",status="499"} 2.0' in text


def test_large_bodies_fill_the_queue_before_the_memory(settings: Settings) -> None:
    """Here the bodies of all requests together may have 200,000 bytes, and three quarters of that are there."""
    with serving(settings.model_copy(update={"max_batch": 1})) as service:
        held = service.app.middleware_stack
        while not isinstance(held, Guard):
            held = getattr(held, "app", None) or held._app
        one = raw_post(service, b" " * 150_000, length=200_000)
        while held._bytes.taken < 150_000:
            assert service.http.get("/v2/health/ready").status_code == 200
        answer = service.http.post("/v1/search", content=b" " * 60_000, headers=JSON)
        assert problem(answer) == (503, "queue_full")
        assert answer.headers["retry-after"] == "1"
        # Part of the second body may be there as well before the rest of it is refused.
        assert "bytes of requests are waiting, of at most 200000" in answer.json()["error"]["message"]
        assert problem(service.http.post("/v1/search", content=b" " * 40_000, headers=JSON)) == (400, "malformed_body")
        one.close()
        service.until(0)
        assert held._bytes.taken == 0
        assert problem(service.http.post("/v1/search", content=b" " * 60_000, headers=JSON)) == (400, "malformed_body")


def test_requests_wait_for_their_turn_and_health_does_not(settings: Settings, pictures: list[Path]) -> None:
    """The network is held at its first picture; a second request waits for the only turn, until its client leaves."""
    uri = data_uri(pictures[0].read_bytes())
    with serving(settings.model_copy(update={"max_batch": 1})) as service:
        encode, begun, go = service.engine.encoder.encode_pixels, threading.Event(), threading.Event()

        def held(pixels: np.ndarray) -> np.ndarray:
            begun.set()
            assert go.wait(WAIT)
            return encode(pixels)

        service.engine.encoder.encode_pixels = held
        first = raw_post(service, json.dumps({"input": uri}).encode())
        assert begun.wait(WAIT)
        second = raw_post(service, json.dumps({"input": uri}).encode())
        service.until(2)  # asks for health
        second.close()
        service.until(1)
        go.set()
        assert first.recv(100).startswith(b"HTTP/1.1 200")
        first.close()
        assert service.http.post("/v1/embeddings", json={"input": uri}).status_code == 200
        service.until(0)


def test_who_reads_an_answer_slowly_keeps_nobody_from_work(settings: Settings) -> None:
    engine = SimpleNamespace(
        settings=settings.model_copy(update={"max_batch": 1}), slots=Slots(2), require_ready=lambda: None
    )
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost")]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def run() -> None:
        reads = asyncio.Event()
        begun: list[int] = []

        async def ask(number: int) -> None:
            body = [{"type": "http.request", "body": b"", "more_body": False}]

            async def receive() -> Message:
                return body.pop() if body else await asyncio.Future()

            async def send(message: Message) -> None:
                begun.append(number)
                if number == 0:
                    await reads.wait()

            await guard(scope, receive, send)

        guard = Guard(app, engine, None)
        slow = asyncio.ensure_future(ask(0))
        while not begun:
            await asyncio.sleep(0)
        await ask(1)
        assert (begun, slow.done()) == ([0, 1], False)
        reads.set()
        await slow
        assert engine.slots.taken == 0

    asyncio.run(run())


def test_a_body_that_comes_too_slowly(settings: Settings) -> None:
    with serving(settings.model_copy(update={"body_seconds": 0.05})) as service:
        connection = raw_post(service, b'{"input":', length=1000)
        answer = b""
        while piece := connection.recv(10_000):  # to the end of the connection, which the service closes
            answer += piece
        connection.close()
        assert answer.startswith(b"HTTP/1.1 408")
        assert b'"code":"body_too_slow"' in answer
        service.until(0)


def test_what_breaks_inside_is_told_to_the_log_alone(
    settings: Settings, caplog: pytest.LogCaptureFixture, pictures: list[Path]
) -> None:
    app = create_app(settings)

    def broken(pixels: object) -> None:
        raise RuntimeError("/srv/secret/path is gone")

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with app.router.lifespan_context(app):
            app.state.engine.encoder.encode_pixels = broken
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                return await http.post("/v1/embeddings", files={"input": pictures[0].read_bytes()})

    answer = asyncio.run(run())
    assert problem(answer) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
    assert "/srv/secret/path is gone" in caplog.text
