"""What the scripts that load a service share: a client of HTTP/1.1 that costs next to nothing.

httpx looks through its whole pool for each request, so that with some hundred connections it measures itself. Here a
request is bytes that were made before, and each client has a connection of its own that it keeps.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

LOST = (OSError, EOFError)  # EOFError: the answer broke off


@dataclass(frozen=True)
class Answer:
    """What came back; the names of headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def post(url: str, path: str, document: Mapping[str, Any]) -> bytes:
    """A request with a JSON body, as it goes over the wire."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One connection, opened when it is needed and kept; after an error the next request opens another."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read its answer.

        Raises:
            OSError, EOFError: there is none, or not the whole of it.
        """
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._address)
            reader, writer = self._streams
            writer.write(request)
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
        except BaseException:
            self.close()
            raise
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(status.split()[1]), headers, body)

    def close(self) -> None:
        """Close it, if it is open."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def spread(seconds: list[float]) -> str:
    """Median, 99th percentile and maximum, in milliseconds."""
    p50, p99, most = np.percentile(seconds, (50, 99, 100)) * 1e3
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, maximum {most:.1f} ms"
