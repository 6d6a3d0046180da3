"""Around every request: it is named, measured and logged; and it passes the guard before anything reads it.

Plain ASGI: the framework's own kind of middleware would cost more than the network.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from contextlib import ExitStack, suppress
from itertools import count
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hetsearch.service.batching import Slots
from hetsearch.service.engine import Engine
from hetsearch.service.errors import Refusal
from hetsearch.service.logs import request_id

log = logging.getLogger("hetsearch.service")

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
GONE = 499  # nginx's number for a client that went away; never sent
# What needs no key, if it is only looked at: probes, the page and the words about the service.
OPEN = frozenset({"/", "/docs", "/openapi.json", "/health", "/ping", "/v2/health/live", "/v2/health/ready"})
OPEN_BELOW = "/page/"


class Observe:
    """Gives each request an id, answers what nobody caught, counts, and writes one line."""

    def __init__(self, app: ASGIApp, engine: Engine, routes: frozenset[str]) -> None:
        self._app, self._metrics, self._routes = app, engine.metrics, routes
        # A random number for each request would be a system call, at which another thread takes the interpreter.
        self._start, self._numbers = uuid4().hex[:16], count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        number = given if REQUEST_ID.fullmatch(given) else f"{self._start}{next(self._numbers):016x}"
        request_id.set(number)
        begin = time.perf_counter()
        status, sent = GONE, 0

        async def observed(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = number
                headers["X-Content-Type-Options"] = "nosniff"
                # No page of another site shows a private gallery's pictures, or learns which keys it has.
                headers["Cross-Origin-Resource-Policy"] = "same-site"
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except Refusal as refusal:
            await refusal.response()(scope, receive, observed)
        except Exception:
            log.exception("internal error")
            if status == GONE:
                message = f"something went wrong inside; its log has the request {number}"
                await Refusal(500, "internal_error", message).response()(scope, receive, observed)
        finally:
            self._note(scope, status, sent, time.perf_counter() - begin)

    def _note(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        route = self._route(scope)
        self._metrics.requests.labels(route, str(status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        fields = {"method": scope["method"], "route": route, "status": status}
        log.info("request", extra={**fields, "ms": round(seconds * 1e3, 3), "bytes": sent})

    def _route(self, scope: Scope) -> str:
        """The path as the routes spell it, so that nobody can fill the metrics with names."""
        path = getattr(scope.get("route"), "path", scope["path"])
        return path if path in self._routes else "other"


class Guard:
    """Host, key, room, size and time, in this order; and nobody works for a client that has gone."""

    def __init__(self, app: ASGIApp, engine: Engine, api_key: str | None) -> None:
        self._app, self._engine, self._settings = app, engine, engine.settings
        self._key = None if api_key is None else api_key.encode()
        self._hosts = engine.settings.hosts
        # As many as one call of the network takes. Requests that wait for their turn cost the event loop nothing, so
        # that health, which needs none, is answered between those that are worked on.
        self._turns = asyncio.Semaphore(engine.settings.max_batch)
        # A queue of small requests is long, and one of the largest is not: their bodies wait in memory.
        self._bytes = Slots(engine.settings.max_batch * engine.settings.max_body, "bytes of requests")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        self._check_host(headers)
        path = scope["path"]
        # A body takes a place in the house, wherever it is sent.
        if scope["method"] != "GET" or not (path in OPEN or path.startswith(OPEN_BELOW)):
            self._check_key(headers)
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        self._engine.require_ready()
        with self._engine.slots.take(), ExitStack() as held:
            body = await self._read(receive, headers, held)
            if body is not None:
                await _unless_gone(self._in_turn, scope, body, receive, send)

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._turns.acquire()
        with ExitStack() as turn:
            turn.callback(self._turns.release)

            async def answer(message: Message) -> None:
                turn.close()  # whoever is slow to read an answer keeps nobody from work
                await send(message)

            await self._app(scope, receive, answer)

    def _check_host(self, headers: Headers) -> None:
        if self._hosts is None:
            return
        name = headers.get("host", "").lower()
        if re.sub(r":\d*$", "", name) not in self._hosts:
            hint = "Ask by the address that it listens on, or start it with --allowed-hosts NAME."
            raise Refusal(421, "unknown_host", "the service does not answer to this host name", hint)

    def _check_key(self, headers: Headers) -> None:
        if self._key is None:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if not hmac.compare_digest(given.strip().encode("latin-1"), self._key) or scheme.lower() != "bearer":
            hint = "Send the header 'Authorization: Bearer KEY'."
            raise Refusal(401, "unauthorized", "the API key is missing or wrong", hint, {"WWW-Authenticate": "Bearer"})

    async def _read(self, receive: Receive, headers: Headers, held: ExitStack) -> bytes | None:
        """The body, whole, for which there is room until ``held`` ends; None where the client went away before."""
        most = self._settings.max_body
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > most:
            raise _too_large(most)
        pieces, size = [], 0
        try:
            async with asyncio.timeout(self._settings.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    pieces.append(message.get("body", b""))
                    size += len(pieces[-1])
                    if size > most:
                        raise _too_large(most)
                    held.enter_context(self._bytes.take(len(pieces[-1])))
                    if not message.get("more_body", False):
                        return b"".join(pieces)
        except TimeoutError:
            seconds = self._settings.body_seconds
            late = f"the body did not arrive within {seconds:g} s"
            raise Refusal(408, "body_too_slow", late, headers={"Connection": "close"}) from None


def _too_large(most: int) -> Refusal:
    return Refusal(413, "body_too_large", f"the body is too large: expected at most {most:,} bytes", "Send less.")


async def _unless_gone(app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
    """Run the application on a body that was read, and stop it when its client goes away."""
    gone = asyncio.ensure_future(receive())
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await asyncio.shield(gone)

    work = asyncio.ensure_future(app(scope, replay, send))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        gone.cancel()
        if not work.done():
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
