"""A Milvus through pymilvus: a file that this process serves to itself (milvus-lite), or a server somewhere.

Everything goes through :meth:`Database.call`: what fails in passing is tried again, and what fails for good becomes an
error of ours. Every call may be repeated without harm, since rows are upserted by their id.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from hetsearch.errors import HetsearchError, UsageError, require_extra

CONNECT_SECONDS = 10.0
CALL_SECONDS = 60.0  # for one try
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between tries
TOKEN = "MILVUS_TOKEN"  # where a server's key is looked for; an address would end up in gallery.json
FILE = ".db"  # how pymilvus tells a file from a server
NOT_FOUND = 100  # Milvus's code where there is no such collection or alias

_CONNECT_FAILED, _RATE_LIMIT = 2, 8  # pymilvus's codes
_TRANSIENT = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"})  # gRPC's names


class Unreachable(HetsearchError):
    """A Milvus does not answer, after several tries."""


class NotThere(HetsearchError):
    """There is no such collection or alias."""


def load_pymilvus() -> Any:
    """The module ``pymilvus``.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import pymilvus
    except ImportError:
        raise require_extra("pymilvus", "distributed") from None
    # What these two log, with tracebacks, also comes as exceptions.
    for name in ("pymilvus", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return pymilvus


def load_lite() -> Any:
    """The module ``milvus_lite``.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import milvus_lite
    except ImportError:
        raise require_extra("milvus-lite", "distributed") from None
    return milvus_lite


class Database:
    """A Milvus that is connected; see :func:`connect`. The connection ends with the last reference to this.

    Attributes:
        uri: where it is.
    """

    def __init__(self, uri: str) -> None:
        pymilvus = load_pymilvus()
        import grpc

        self.uri = uri
        self._errors = (pymilvus.MilvusException, grpc.RpcError)
        if uri.endswith(FILE):
            _open_file(uri)
        try:
            # A connection of its own: pymilvus would share one by its port, which the next file may get again.
            client = pymilvus.MilvusClient(
                uri, token=os.environ.get(TOKEN, ""), timeout=CONNECT_SECONDS, dedicated=True
            )
        except self._errors as error:
            _release(uri)
            raise self._unreachable(error) from None
        self._client = client
        weakref.finalize(self, _close, client, uri)

    def call(self, method: str, *arguments: Any, timeout: float | None = CALL_SECONDS, **options: Any) -> Any:
        """What a method of ``pymilvus.MilvusClient`` gives.

        Args:
            method: its name.
            arguments: of it.
            timeout: seconds for one try; None waits as long as it takes.
            options: of it.

        Raises:
            Unreachable: Milvus does not answer, or is too busy, after several tries.
            NotThere: there is no such collection or alias.
            HetsearchError: Milvus refuses.
        """
        return self.tried(lambda: getattr(self._client, method)(*arguments, timeout=timeout, **options), method)

    def tried(self, attempt: Callable[[], Any], what: str) -> Any:
        """What ``attempt`` gives, called again while it fails in passing; raises as :meth:`call` does."""
        pauses = iter(PAUSES)
        while True:
            try:
                return attempt()
            except self._errors as error:
                if not _transient(error):
                    raise self._refused(what, error) from None
                if (pause := next(pauses, None)) is None:
                    raise self._unreachable(error) from None
            time.sleep(pause)

    def _refused(self, what: str, error: Exception) -> HetsearchError:
        if getattr(error, "code", None) == NOT_FOUND:
            return NotThere(f"the Milvus at '{self.uri}' has no such collection", observed=_reason(error))
        return HetsearchError(f"the Milvus at '{self.uri}' refuses '{what}'", observed=_reason(error))

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(
            f"the Milvus at '{self.uri}' does not answer",
            observed=_reason(error),
            hint=f"Is it running, and is the address right? A server's key is read from ${TOKEN}.",
        )


_OPEN: WeakValueDictionary[str, Database] = WeakValueDictionary()
_SERVED: Counter[str] = Counter()  # connections to each file; the last one to go stops what serves it
_LOCK = threading.RLock()


def connect(uri: str) -> Database:
    """Connect to a Milvus; one connection serves all who ask for the same one.

    Args:
        uri: ``http://HOST:PORT``, perhaps with ``/DATABASE``, or the path of a file that ends in ``.db``.

    Raises:
        MissingExtra: pymilvus or milvus-lite is not installed.
        Unreachable: it does not answer.
        UsageError: another process has the file open.
    """
    uri = os.path.realpath(uri) if uri.endswith(FILE) else uri
    with _LOCK:
        database = _OPEN.get(uri)
        if database is None:
            database = _OPEN[uri] = Database(uri)
        return database


def let_go() -> None:
    """Close what nobody uses any more, now and not some time.

    pymilvus raises errors from themselves, also those that it catches. Such a ring holds the frames that it came
    through, and these a connection; for a file that means its lock.
    """
    gc.collect()


def _open_file(path: str) -> None:
    """Start what serves a file inside this process; pymilvus would not say why it cannot be done."""
    milvus_lite = load_lite()
    for again in (True, False):
        if milvus_lite.server_manager_instance.start_and_get_uri(path) is not None:
            _SERVED[path] += 1
            return
        if again:
            let_go()
    try:
        milvus_lite.MilvusLite(path).close()
    except milvus_lite.DataDirLockedError:
        raise UsageError(
            f"the database '{path}' is open in another process",
            hint="milvus-lite lets one process in at a time. For more, run a Milvus server and build with --uri.",
        ) from None
    except (milvus_lite.MilvusLiteError, OSError) as error:
        raise HetsearchError(f"the database '{path}' cannot be opened", observed=_reason(error)) from None
    raise HetsearchError(f"the database '{path}' cannot be served on the loopback address")


def _close(client: Any, uri: str) -> None:
    client.close()
    _release(uri)


def _release(uri: str) -> None:
    if uri.endswith(FILE):
        with _LOCK:
            _SERVED[uri] -= 1
            if not _SERVED[uri]:
                load_lite().server_manager_instance.release_server(uri)


def _transient(error: Exception) -> bool:
    code = getattr(error, "code", None)
    code = code() if callable(code) else code
    return (
        getattr(code, "name", None) in _TRANSIENT
        or code in (_CONNECT_FAILED, _RATE_LIMIT)
        or bool(getattr(error, "retriable", False))
    )


def _reason(error: Exception) -> str:
    text = getattr(error, "message", None) or getattr(error, "details", lambda: None)() or str(error)
    return " ".join(str(text).split())[:300]
