"""One connection, before there is a request: how much of a head is read, how long that may take, and its end."""

from __future__ import annotations

import asyncio
import selectors
from asyncio import TimerHandle
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hetsearch.service.errors import Refusal

HEAD = 65_536  # bytes of a request that are not of its body


class Connection(HttpToolsProtocol):
    """Reads requests as uvicorn does, which by itself keeps a head of any length and waits for one for ever.

    What cannot be read as HTTP is refused in the service's one shape.

    Args:
        head_seconds: in which a head must have arrived.
        named: what uvicorn gives.
    """

    def __init__(self, *, head_seconds: float, **named: Any) -> None:
        super().__init__(**named)
        self._seconds = head_seconds
        self._head = 0  # bytes since the last request, or the last of its body
        self._late: TimerHandle | None = None
        self._ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """asyncio: a client has come. One that sends nothing is let go like one that has no more to ask."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the client has gone."""
        self._unset_keepalive_if_required()
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """asyncio: something has come."""
        self._head += len(data)
        super().data_received(data)
        if self._head > HEAD and not self.transport.is_closing():
            self._refuse(Refusal(431, "head_too_large", f"the head of a request has more than {HEAD:,} bytes"))

    def on_message_begin(self) -> None:
        """The parser: a request begins."""
        super().on_message_begin()
        self._late = self.loop.call_later(self._seconds, self._too_late)

    def on_headers_complete(self) -> None:
        """The parser: its head is whole."""
        self._in_time()
        super().on_headers_complete()
        if self._ending and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """The parser: some of its body. Bytes after the body that are no request's are of its head again."""
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The parser: it is whole."""
        self._head = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """uvicorn: what came is no HTTP."""
        self._refuse(Refusal(400, "malformed_request", "the request is no HTTP"))

    def shutdown(self) -> None:
        """uvicorn: answer what has come, and close. What nobody has read yet has come as well."""
        self._ending = True
        at_work = self.cycle is not None and not self.cycle.response_complete
        if at_work or self.transport.is_closing() or not (self._head or self._unread()):
            super().shutdown()

    def _unread(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self.transport.get_extra_info("socket"), selectors.EVENT_READ)
            return bool(selector.select(0))

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._refuse(Refusal(408, "head_too_slow", f"the head of a request did not arrive within {self._seconds:g} s"))

    def _refuse(self, refusal: Refusal) -> None:
        if self.transport.is_closing():
            return
        # While an earlier request is at work, an answer to a later one would be taken for its own.
        if self.cycle is None or self.cycle.response_complete:
            body = refusal.response().body
            reason = HTTPStatus(refusal.status).phrase
            head = f"HTTP/1.1 {refusal.status} {reason}\r\nContent-Type: application/json\r\nConnection: close\r\n"
            self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + bytes(body))
        self.transport.close()
