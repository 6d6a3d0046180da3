from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hetsearch.errors import HetsearchError, MissingExtra, UsageError
from hetsearch.gallery.stores import milvus_client as client
from hetsearch.gallery.stores.milvus_client import Database, NotThere, Unreachable, connect


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PAUSES", (0.0, 0.0, 0.0))


def made(kind: str) -> Exception:
    """An error as gRPC or pymilvus raise it."""
    grpc, pymilvus = pytest.importorskip("grpc"), pytest.importorskip("pymilvus")

    class Lost(grpc.RpcError):  # type: ignore[misc, name-defined]
        def code(self) -> Any:
            return getattr(grpc.StatusCode, kind)

        def details(self) -> str:
            return "the line is cut"

    known = {
        "rate limit": {"code": 8},
        "no connection": {"code": 2},
        "no answer": {"code": grpc.StatusCode.UNAVAILABLE},
        "retriable": {"code": 5, "retriable": True},
        "no such field": {"code": 1},
    }
    return pymilvus.MilvusException(message=kind, **known[kind]) if kind in known else Lost()


def failing(times: int, error: Exception) -> tuple[Callable[[], str], list[int]]:
    calls = []

    def attempt() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return attempt, calls


@pytest.mark.parametrize(
    "kind", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "rate limit", "no connection", "no answer", "retriable"]
)
def test_what_fails_in_passing_is_tried_again_and_not_for_ever(milvus_server: str, kind: str) -> None:
    database = connect(milvus_server)
    attempt, calls = failing(3, made(kind))
    assert database.tried(attempt, "upsert") == "done"
    assert len(calls) == 4
    attempt, calls = failing(99, made(kind))
    with pytest.raises(Unreachable, match=f"Milvus at '{milvus_server}' does not answer.*Is it running"):
        database.tried(attempt, "upsert")
    assert len(calls) == 4


@pytest.mark.parametrize("kind", ["PERMISSION_DENIED", "no such field"])
def test_what_milvus_refuses_is_not_tried_again(milvus_server: str, kind: str) -> None:
    attempt, calls = failing(99, made(kind))
    with pytest.raises(HetsearchError, match=r"refuses 'upsert': observed (the line is cut|no such field)"):
        connect(milvus_server).tried(attempt, "upsert")
    assert len(calls) == 1


def test_what_is_not_there(milvus_server: str) -> None:
    with pytest.raises(NotThere, match=r"has no such collection: observed .*'nothing' does not exist"):
        connect(milvus_server).call("describe_collection", "nothing")


@pytest.mark.usefixtures("milvus_server")
def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match=f"'{uri}' does not answer.*MILVUS_TOKEN") as caught:
            connect(uri)
    assert caught.value.exit_code == 1


def test_one_connection_serves_all_who_ask(milvus_server: str) -> None:
    assert connect(milvus_server) is connect(milvus_server)


def test_a_file_is_closed_with_the_last_reference(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    path = str(tmp_path / "a.db")
    first, second = connect(path), connect(path)
    assert first is second
    del first
    assert second.call("list_collections") == []
    in_another_process(path, opens=False)
    del second
    in_another_process(path, opens=True)


def in_another_process(path: str, *, opens: bool) -> None:
    code = f"import milvus_lite; milvus_lite.MilvusLite({path!r}).close()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode == 0, "DataDirLockedError" in done.stderr) == (opens, not opens)


def test_a_file_that_another_process_has_open(tmp_path: Path) -> None:
    lite = pytest.importorskip("milvus_lite")
    holder = lite.MilvusLite(str(tmp_path / "a.db"))
    try:
        with pytest.raises(UsageError, match=r"is open in another process.*one process in at a time") as caught:
            connect(str(tmp_path / "a.db"))
    finally:
        holder.close()
    assert caught.value.exit_code == 2


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    (tmp_path / "a.db").write_text("no folder")
    with pytest.raises(HetsearchError, match=r"a\.db' cannot be opened"):
        connect(str(tmp_path / "a.db"))


@pytest.mark.parametrize(("module", "name"), [("pymilvus", "pymilvus"), ("milvus_lite", "milvus-lite")])
def test_without_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str, name: str) -> None:
    pytest.importorskip("pymilvus")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"'{name}' is not installed.*hetsearch\[distributed\]"):
        Database(str(tmp_path / "a.db"))
