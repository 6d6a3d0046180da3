"""The process: a socket, the application, and an end that finishes what was accepted."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial

import uvicorn
from fastapi import FastAPI

from hetsearch.errors import HetsearchError, UsageError
from hetsearch.service.app import create_app
from hetsearch.service.connection import Connection
from hetsearch.service.logs import configure
from hetsearch.service.settings import Settings, read_api_key

log = logging.getLogger("hetsearch.service")

# Objects made before the youngest are looked through for garbage; Python's own 700 are a handful of requests.
GARBAGE = 50_000
# Seconds after which a thread that decodes lets the event loop go on; Python's own 0.005 are 50 calls of the network.
SWITCH = 0.0005
# Seconds that a silent connection stays open: longer than clients (httpx: 5) and proxies (60) keep one, so that it is
# they who close it, and no request is sent into a closed one.
KEEP_ALIVE = 75

REASONS = {
    errno.EADDRINUSE: "it is in use",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "it may not be used",
}


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.started:
            return
        # Modules and the gallery's tables stay to the end. Looking through them for garbage, again and again, would
        # stop every answer for a fifth of a second.
        gc.freeze()
        gc.set_threshold(GARBAGE)
        for one in sockets or ():
            log.info("ready", extra={"url": _url(one)})


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then no new connection is taken, and every accepted request is answered.

    Raises:
        UsageError: the address cannot be listened on, or a setting cannot work.
        HetsearchError: the bundle or the gallery cannot be opened, or they are of different spaces, or the first call
            fails.
    """
    configure(settings.log_level)
    sys.setswitchinterval(SWITCH)
    api_key = read_api_key(settings, os.environ)
    with listener(settings.host, settings.port) as bound:
        app = create_app(settings, api_key)
        if api_key is None and not settings.loopback:
            log.warning("other machines can ask without a key", extra={"host": settings.host})
        server = _Server(config_of(app, settings))

        # uvicorn raises the signal once more after its own end; by then there is nothing left to stop.
        def end(number: int, frame: object) -> None:
            server.should_exit = True

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        with suppress(SystemExit):  # of a start that failed, with a code that says something else here
            server.run(sockets=[bound])
        if not server.started:
            raise HetsearchError("the service did not start", hint="Its log says why.")
        log.info("ended")


def config_of(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the service."""
    return uvicorn.Config(
        app,
        http=partial(Connection, head_seconds=settings.body_seconds),  # type: ignore[arg-type]
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=settings.drain_seconds,
    )


def listener(host: str, port: int) -> socket.socket:
    """A socket that is bound and does not listen yet: nobody connects before the service is ready.

    Raises:
        UsageError: the address is none, or cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError:
        raise UsageError(f"there is no address '{host}'", expected="a --host such as 127.0.0.1 or 0.0.0.0") from None
    bound = socket.socket(family, kind, protocol)
    if os.name == "posix":  # elsewhere it would let two servers take one port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        reason = REASONS.get(error.errno or 0, error.strerror)
        hint = "Choose another --port, or 0 for a free one."
        raise UsageError(f"nothing can listen on port {port} of '{host}'", observed=reason, hint=hint) from None
    return bound


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if bound.family == socket.AF_INET6 else f"http://{host}:{port}"
