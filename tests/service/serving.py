"""A real service on loopback, in a thread of the test's own process."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn
from fastapi import FastAPI

from hetsearch.service.app import create_app
from hetsearch.service.engine import Engine
from hetsearch.service.server import config_of, listener
from hetsearch.service.settings import Settings

WAIT = 60  # seconds for what never takes them


@dataclass(frozen=True)
class Service:
    url: str
    app: FastAPI
    http: httpx.Client

    @property
    def engine(self) -> Engine:
        engine: Engine = self.app.state.engine
        return engine

    def until(self, count: int) -> None:
        """Ask for health until so many pictures are in the house; that it answers is part of the test."""
        for _ in range(100_000):
            assert self.http.get("/v2/health/ready").status_code == 200
            if self.engine.slots.taken == count:
                return
        raise AssertionError(f"{self.engine.slots.taken} pictures, not {count}")


class _Server(uvicorn.Server):
    def __init__(self, app: FastAPI, settings: Settings) -> None:
        super().__init__(config_of(app, settings))
        self.up = threading.Event()

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextmanager
def serving(settings: Settings, api_key: str | None = None) -> Iterator[Service]:
    app = create_app(settings, api_key)
    bound = listener("127.0.0.1", 0)
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    server = _Server(app, settings)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        assert server.up.wait(WAIT), "the service did not start"
        with httpx.Client(base_url=url, timeout=WAIT) as http:
            yield Service(url, app, http)
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def data_uri(blob: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(blob).decode()}"


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, after its one shape was checked."""
    document = answer.json()
    assert set(document) == {"error"}, document
    error = document["error"]
    assert set(error) == {"code", "message", "hint"}, error
    assert error["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    return answer.status_code, error["code"]
