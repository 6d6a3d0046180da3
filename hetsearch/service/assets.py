"""Files for browsers: a page's own, and the runtime that lies gzipped in the package and is sent as it lies."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

PAGE = Path(__file__).parent / "page"
RUNTIME = Path(__file__).parent / "onnxruntime_web"  # brought by scripts/fetch_onnxruntime_web.py
INDEX = "index.json"

# A browser runs no script and compiles no WebAssembly of another type, and what a system says of types may be wrong.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
TEXT = "text/plain; charset=utf-8"
ASK_AGAIN = "no-cache"  # keep it, and ask each time whether it is still the same
FOR_EVER = "public, max-age=31536000, immutable"  # its address has its version
PIECE = 65_536  # bytes unpacked at a time


class WholeFile(FileResponse):
    """A file, never a part of it: who asks for a range that cannot be would be refused in another shape than ours."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        self.headers["Accept-Ranges"] = "none"
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


@dataclass(frozen=True)
class Asset:
    """One file.

    Attributes:
        path: where it lies.
        media_type: what it is.
        tag: of its content.
        cache: how long a browser may keep it.
        gzipped: whether it lies gzipped.
        headers: further headers.
    """

    path: Path
    media_type: str
    tag: str
    cache: str = ASK_AGAIN
    gzipped: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    def answer(self, request: Request) -> Response:
        """The file, unpacked for who does not take it as it lies; 304 for who has it."""
        tag = f'W/"{self.tag}"' if self.gzipped else f'"{self.tag}"'  # weak: gzipped or not, it is the same file
        headers = {"Cache-Control": self.cache, "ETag": tag, **self.headers}
        if self.gzipped:
            headers["Vary"] = "Accept-Encoding"
        if has_already(request, tag):
            return Response(status_code=304, headers=headers)
        if not self.gzipped:
            return WholeFile(self.path, headers=headers, media_type=self.media_type)
        if _takes_gzip(request):
            headers["Content-Encoding"] = "gzip"
            return WholeFile(self.path, headers=headers, media_type=self.media_type)
        return StreamingResponse(_unpacked(self.path), headers=headers, media_type=self.media_type)


def page_assets() -> dict[str, Asset]:
    """The page's own files by name."""
    files = sorted(path for path in PAGE.iterdir() if path.suffix in TYPES)
    return {path.name: _asset(path) for path in files}


def runtime_assets() -> tuple[str, dict[str, Asset]]:
    """ONNX Runtime for browsers: its version, and its files by name, the licence and the notices among them."""
    index = json.loads((RUNTIME / INDEX).read_text(encoding="utf-8"))
    assets = {
        name: Asset(RUNTIME / f"{name}.gz", TYPES[Path(name).suffix], file["sha256"], FOR_EVER, gzipped=True)
        for name, file in index["files"].items()
    }
    notices = RUNTIME / "ThirdPartyNotices.txt.gz"
    assets[notices.stem] = Asset(notices, TEXT, index["version"], FOR_EVER, gzipped=True)
    assets["LICENSE"] = Asset(RUNTIME / "LICENSE", TEXT, index["version"], FOR_EVER)
    return index["version"], assets


def runtime_index() -> Asset:
    """What the runtime's version and files are."""
    return _asset(RUNTIME / INDEX)


def has_already(request: Request, tag: str) -> bool:
    """Whether the client holds what has this tag."""
    known = request.headers.get("if-none-match", "").split(",")
    return tag.removeprefix("W/") in (one.strip().removeprefix("W/") for one in known)


def _asset(path: Path) -> Asset:
    return Asset(path, TYPES[path.suffix], hashlib.sha256(path.read_bytes()).hexdigest())


def _takes_gzip(request: Request) -> bool:
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = part.replace(" ", "").partition(";q=")
        if name in ("gzip", "*"):
            return weight.strip("0.") != "" or not weight
    return False


def _unpacked(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        while piece := file.read(PIECE):
            yield piece
