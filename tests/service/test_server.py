"""The real process: ``python -m hetsearch serve`` on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from hetsearch.cli import main
from hetsearch.errors import HetsearchError, UsageError
from hetsearch.runtime import OnnxEncoder
from hetsearch.service import server
from hetsearch.service.engine import Engine
from hetsearch.service.server import listener
from hetsearch.service.settings import Settings
from tests.service.serving import WAIT, data_uri
from tests.support import OTHER_SPACE, SPACE, linear_bundle

ROOT = Path(__file__).parents[2]


class Process:
    """A service in a process of its own, and what it logs."""

    def __init__(self, words: tuple[object, ...], environment: dict[str, str]) -> None:
        given = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hetsearch", "serve", *map(str, words)], stderr=subprocess.PIPE, text=True, env=given
        )
        self.lines: list[dict] = []

    def event(self, name: str) -> dict:
        """The next line of the log that says ``name``."""
        assert self.process.stderr is not None
        for text in self.process.stderr:
            self.lines.append(json.loads(text))
            if self.lines[-1]["event"] == name:
                return self.lines[-1]
        raise AssertionError(f"no '{name}' in {self.lines}")

    def end(self) -> int:
        """Read the log to its end, and give the exit code."""
        assert self.process.stderr is not None
        self.lines += [json.loads(text) for text in self.process.stderr]
        return self.process.wait(WAIT)


@contextmanager
def process(*words: object, **environment: str) -> Iterator[Process]:
    started = Process(words, environment)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.process.kill()
            started.process.wait()


def begin(address: tuple[str, int], content: bytes) -> socket.socket:
    """Send a request but for its last byte."""
    connection = socket.create_connection(address)
    head = "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer k3y\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content[:-1])
    return connection


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionError:
        return True
    return False


def test_sigterm_under_load_finishes_what_was_accepted(
    bundle: Path, gallery: Path, encoder: OnnxEncoder, pictures: list[Path]
) -> None:
    """Twenty pictures wait for a twenty-first, whose body is not whole yet when the signal comes."""
    environment = {
        "HETSEARCH_GALLERY": str(gallery), "HETSEARCH_API_KEY": "k3y", "HETSEARCH_MAX_BATCH": "21",
        "HETSEARCH_BATCH_WAIT_MS": "3600000",
    }  # fmt: skip
    with process("--encoder", bundle, "--port", 0, **environment) as service:
        url = service.event("ready")["url"]
        address = ("127.0.0.1", int(url.rpartition(":")[2]))
        headers = {"Authorization": "Bearer k3y"}

        def ask(picture: Path) -> httpx.Response:
            files = {"input": picture.read_bytes()}
            return httpx.post(f"{url}/v1/embeddings", files=files, headers=headers, timeout=WAIT)

        content = json.dumps({"input": data_uri(pictures[0].read_bytes())}).encode()
        with ThreadPoolExecutor(len(pictures)) as threads, httpx.Client(base_url=url, headers=headers) as http:
            waiting = [threads.submit(ask, picture) for picture in pictures]
            last = begin(address, content)
            while "hetsearch_queue_depth 21.0" not in http.get("/metrics").text:
                pass
            service.process.send_signal(signal.SIGTERM)
            while not refused(address):
                pass
            last.sendall(content[-1:])
            answers = [future.result() for future in waiting]
        text = b"".join(iter(lambda: last.recv(65_536), b""))
        last.close()
        assert text.startswith(b"HTTP/1.1 200 OK")
        for picture, answer in zip(pictures, answers, strict=True):
            assert answer.status_code == 200
            found = answer.json()["data"][0]["embedding"]
            assert np.allclose(found, encoder.encode(picture).vectors[0], atol=2e-6)
        assert service.end() == 0
        assert service.lines[-1]["event"] == "ended"
        assert sum(line["event"] == "request" and line["status"] == 200 for line in service.lines) >= 21


def test_the_key_is_not_in_ps_and_the_log_is_json(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k3y\n")
    with process("--encoder", bundle, "--port", 0, "--api-key-file", tmp_path / "key", "--host", "0.0.0.0") as service:
        url = service.event("ready")["url"].replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/v1/models").status_code == 401
        headers = {"Authorization": "Bearer k3y", "Host": "shop.example", "X-Request-ID": "mine"}
        assert httpx.get(f"{url}/v1/models", headers=headers).status_code == 200
        status = Path(f"/proc/{service.process.pid}/cmdline")
        if status.exists():
            assert b"k3y" not in status.read_bytes()
        service.process.send_signal(signal.SIGINT)
        assert service.end() == 0
        assert not any("k3y" in json.dumps(line) for line in service.lines)
        line = next(line for line in service.lines if line.get("request_id") == "mine")
        assert (line["event"], line["status"], line["route"], line["level"]) == ("request", 200, "/v1/models", "info")


def test_what_cannot_be_served(
    bundle: Path, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server, "configure", lambda level: None)  # the loggers are the test run's
    other = linear_bundle(tmp_path / "other", space=OTHER_SPACE)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for words, code, said in (
            (("--encoder", bundle, "--port", port), 2, f"port {port} of '127.0.0.1': observed it is in use"),
            (("--encoder", other, "--gallery", gallery, "--port", "0"), 4, f"observed {OTHER_SPACE}, expected {SPACE}"),
            (("--encoder", tmp_path, "--port", "0"), 2, "is not an encoder bundle"),
            (("--encoder", bundle, "--port", "0", "--api-key-file", tmp_path / "none"), 2, "none' cannot be read"),
        ):
            with pytest.raises(SystemExit) as left:
                main(["serve", *map(str, words)])
            assert left.value.code == code
            assert said in capsys.readouterr().err


def test_a_start_that_fails_is_neither_ready_nor_a_success(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(engine: Engine) -> None:
        raise RuntimeError("the first call of the network fails")

    monkeypatch.setattr(server, "configure", lambda level: None)
    monkeypatch.setattr(server.signal, "signal", lambda number, handler: signal.SIG_DFL)  # the test run keeps its own
    monkeypatch.setattr(server.sys, "setswitchinterval", lambda seconds: None)
    monkeypatch.setattr(Engine, "start", broken)
    with caplog.at_level("INFO"), pytest.raises(HetsearchError, match="did not start") as caught:
        server.serve(Settings(encoder=bundle, port=0))
    assert caught.value.exit_code == 1
    assert "the first call of the network fails" in caplog.text
    assert not {"ready", "ended"} & {record.getMessage() for record in caplog.records}


def test_addresses() -> None:
    with listener("127.0.0.1", 0) as first:
        host, port = first.getsockname()
        assert (host, port > 0) == ("127.0.0.1", True)
        first.listen()
        with pytest.raises(UsageError, match=f"port {port} .* in use.*Choose another --port"):
            listener("127.0.0.1", port)
    with pytest.raises(UsageError, match=r"no such address"):
        listener("192.0.2.1", 0)  # kept for documentation: no machine has it
    with pytest.raises(UsageError, match="there is no address 'not a host'"):
        listener("not a host", 0)
