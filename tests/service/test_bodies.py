"""What takes long is done where health does not wait for it."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hetsearch.service import bodies
from hetsearch.service.bodies import AT_ONCE, off_the_loop
from tests.service.serving import WAIT, Service
from tests.support import SPACE

PIXELS = {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 28, 28], "data": [0] * 784}


def test_a_thread_for_much_and_none_for_little() -> None:
    async def run() -> list[int]:
        return [await off_the_loop(size, threading.get_ident) for size in (0, AT_ONCE, AT_ONCE + 1)]

    here = threading.get_ident()
    assert [thread == here for thread in asyncio.run(run())] == [True, True, False]


@pytest.mark.parametrize(
    ("room", "name", "path", "request_"),
    [
        ("bodies", "_filled", "/v1/search", {"data": {"k": "3"}}),
        ("routes.inference", "_pixels", "/v2/models/tiny/infer", {"json": {"inputs": [PIXELS]}}),
        ("routes.inference", "_answer", "/v2/models/tiny/infer", {"json": {"inputs": [PIXELS]}}),
        ("routes.embeddings", "_named", "/v1/embeddings", {}),
    ],
)
def test_health_does_not_wait_for_what_takes_long(
    service: Service,
    pictures: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    room: str,
    name: str,
    path: str,
    request_: dict[str, Any],
) -> None:
    module = import_module(f"hetsearch.service.{room}")
    work, begun, go = getattr(module, name), threading.Event(), threading.Event()

    def long(*given: object) -> object:
        begun.set()
        assert go.wait(WAIT)
        return work(*given)

    monkeypatch.setattr(module, name, long)
    monkeypatch.setattr(bodies, "AT_ONCE", 0)
    given = request_ if "json" in request_ else {"files": {"image": pictures[0].read_bytes()}, **request_}
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(service.http.post, path, **given)
        assert begun.wait(WAIT)
        assert service.http.get("/v2/health/ready").status_code == 200
        go.set()
        assert answer.result().status_code == 200


def test_a_form_and_a_body_of_many_values_ask_the_same(service: Service, pictures: list[Path]) -> None:
    wanted = {"key": [f"class-{number % 10}/{number:03}.png" for number in range(9000)]}
    assert len(json.dumps(wanted)) > AT_ONCE
    form = {"k": "50", "filter": json.dumps(wanted)}
    found = service.http.post("/v1/search", files={"image": pictures[0].read_bytes()}, data=form).json()["hits"]
    embedded = service.http.post("/v1/embeddings", files={"image": pictures[0].read_bytes()}).json()
    body = {"vector": embedded["data"][0]["embedding"], "space": SPACE, "k": 50, "filter": wanted}
    again = service.http.post("/v1/search", json=body).json()["hits"]
    assert [hit["key"] for hit in found] == [hit["key"] for hit in again]
    assert found
    assert {hit["key"] for hit in found} <= set(wanted["key"])
