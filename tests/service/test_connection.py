"""What a connection bears before there is a request, over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from functools import partial
from urllib.parse import urlsplit

import pytest
from uvicorn.server import ServerState

from hetsearch.service.app import create_app
from hetsearch.service.connection import HEAD
from hetsearch.service.server import config_of
from hetsearch.service.settings import Settings
from tests.service.serving import WAIT, Service, serving

ASK = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"


def connected(service: Service) -> socket.socket:
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=WAIT)


def all_of(connection: socket.socket) -> bytes:
    """What comes until the service closes the connection."""
    pieces = []
    try:
        while piece := connection.recv(65_536):
            pieces.append(piece)
    except ConnectionResetError:  # it closed while more was on its way
        pass
    return b"".join(pieces)


def refusal(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    assert b"Connection: close" in head
    error = json.loads(body)["error"]
    assert set(error) == {"code", "message", "hint"}
    return int(head.split()[1]), error["code"]


def test_what_is_no_http_is_refused_in_the_one_shape(service: Service) -> None:
    for noise in (b"\x16\x03\x01\x02\x00", b"HELLO\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"):
        with connected(service) as one:
            one.sendall(noise)
            assert refusal(all_of(one)) == (400, "malformed_request")


@pytest.mark.parametrize(
    "begin",
    [ASK + b"X-Long: ", b"GET /", ASK + b"X-A: b\r\n" * 4000, b"\r\n"],
    ids=["one header", "the address", "many headers", "empty lines"],
)
def test_a_head_has_an_end(service: Service, begin: bytes) -> None:
    filler = begin if begin == b"\r\n" else b"x"
    with connected(service) as one:
        one.sendall((begin + filler * HEAD)[:HEAD])
        assert service.http.get("/v2/health/live").status_code == 200  # all of it was read by then
        one.setblocking(False)
        with pytest.raises(BlockingIOError):  # and not refused
            one.recv(1)
        one.settimeout(WAIT)
        one.sendall(b"\r" if begin == b"\r\n" else b"x")
        assert refusal(all_of(one)) == (431, "head_too_large")
    assert service.http.get("/v2/health/live").status_code == 200


def test_headers_after_a_body_have_an_end_too(service: Service) -> None:
    head = b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    with connected(service) as one:
        one.sendall(head + b"\r\n2\r\n{}\r\n0\r\n")
        service.until(1)
        one.sendall((b"X-More: x\r\n" * HEAD)[: HEAD + 1])
        assert all_of(one) == b""  # an answer now would be taken for that of the request
    service.until(0)


def test_a_large_body_is_no_head(service: Service) -> None:
    body = b'{"vector": [' + b"0," * 90_000 + b'0], "space": "sp_x"}'
    assert len(body) > 2 * HEAD
    for content in (body, (body[place : place + 7] for place in range(0, 70_000, 7))):
        answer = service.http.post("/v1/search", content=content, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 409)


@pytest.mark.parametrize("wanted", ["websocket", "h2c"])
def test_who_asks_for_another_protocol_gets_this_one(service: Service, wanted: str) -> None:
    with connected(service) as one:
        for _ in range(2):
            one.sendall(ASK + f"Connection: Upgrade\r\nUpgrade: {wanted}\r\n\r\n".encode())
            assert one.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_head_that_comes_too_slowly(settings: Settings) -> None:
    with serving(settings.model_copy(update={"body_seconds": 0.05})) as service:
        with connected(service) as one:
            one.sendall(ASK)
            assert refusal(all_of(one)) == (408, "head_too_slow")
        with connected(service) as one:  # a whole head in time, and again on the same connection
            for _ in range(2):
                one.sendall(ASK + b"\r\n")
                assert one.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_client_that_says_nothing_is_let_go(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hetsearch.service.server.KEEP_ALIVE", 0.05)
    with serving(settings) as service, connected(service) as one:
        assert all_of(one) == b""


def test_what_has_come_and_was_not_read_is_answered_at_the_end(settings: Settings) -> None:
    """The end begins while requests lie in the sockets of connections that look idle, one of them half a request."""

    async def run() -> None:
        config, state = config_of(create_app(settings), settings), ServerState()
        config.load()
        made = partial(config.http_protocol_class, config=config, server_state=state, app_state={})
        server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        pairs = [await asyncio.open_connection(*address) for _ in range(3)]
        for reader, writer in pairs:
            writer.write(ASK + b"\r\n")
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        asked, half, idle = pairs
        asked[1].write(ASK + b"\r\n")
        half[1].write(ASK)
        for one in list(state.connections):  # before the loop reads what was just written
            one.shutdown()
        answer = await asked[0].read()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in answer
        assert await idle[0].read() == b""
        half[1].write(b"\r\n")
        assert (await half[0].read()).startswith(b"HTTP/1.1 200 OK")
        assert not state.connections
        for _, writer in pairs:
            writer.close()
        server.close()

    asyncio.run(run())
