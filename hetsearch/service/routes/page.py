"""What a browser shows: the page that embeds by itself, the words about every path, and what they load."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import Response

from hetsearch.service.assets import INDEX, page_assets, runtime_assets, runtime_index
from hetsearch.service.errors import Refusal

# The page loads nothing from elsewhere, and nobody frames it; WebAssembly is what embeds in the browser.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "img-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
BELOW = "/page"
RUNTIME = f"{BELOW}/onnxruntime-web"

router = APIRouter(include_in_schema=False)
_page = page_assets()
_version, _runtime = runtime_assets()
_index = runtime_index()
_shown = {
    path: replace(_page[name], headers={"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"})
    for path, name in (("/", "index.html"), ("/docs", "docs.html"))
}


@router.get("/")
@router.get("/docs")
async def shown(request: Request) -> Response:
    """A page."""
    return _shown[request.scope["path"]].answer(request)


@router.get(f"{BELOW}/{{name}}")
async def part(request: Request, name: str) -> Response:
    """What a page loads."""
    if name not in _page:
        raise _nothing()
    return _page[name].answer(request)


@router.get(f"{RUNTIME}/{INDEX}")
async def index(request: Request) -> Response:
    """The version of the runtime, and its files with their sizes and sums."""
    return _index.answer(request)


@router.get(f"{RUNTIME}/{{version}}/{{name}}")
async def runtime(request: Request, version: str, name: str) -> Response:
    """A file of the runtime, which its address names for ever."""
    if version != _version or name not in _runtime:
        raise _nothing()
    return _runtime[name].answer(request)


def _nothing() -> Refusal:
    return Refusal(404, "not_found", "Not Found", "GET / is the page.")
