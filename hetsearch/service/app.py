"""The service as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

import hetsearch
from hetsearch.errors import HetsearchError
from hetsearch.service import errors
from hetsearch.service.engine import Engine
from hetsearch.service.middleware import Guard, Observe
from hetsearch.service.routes import embeddings, health, inference, search
from hetsearch.service.settings import Settings

PAGE = Path(__file__).parent / "page"
ROUTERS = (embeddings.router, search.router, inference.router, health.router)
DESCRIPTION = (
    "Pictures to vectors of one space, and vectors to the nearest items of a gallery in that space. Every answer names "
    "its space, and a vector of another one is refused. Every error is {\"error\": {code, message, hint}}."
)

# The page loads nothing from elsewhere, and nobody frames it; WebAssembly is what embeds in the browser.
POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; frame-ancestors 'none'"


def create_app(settings: Settings, api_key: str | None = None) -> FastAPI:
    """The service; the encoder and the gallery are opened here, the warm-up is done when it starts.

    Args:
        settings: what to serve and within which limits.
        api_key: what requests must bring as ``Authorization: Bearer KEY``; None asks for nothing.

    Raises:
        HetsearchError: the bundle or the gallery cannot be opened, or they are of different spaces.
    """
    engine = Engine(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await engine.start()
        try:
            yield
        finally:
            await engine.stop()

    routes = frozenset(getattr(route, "path", "") for router in ROUTERS for route in router.routes)
    app = FastAPI(
        title="hetsearch",
        version=hetsearch.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # its page would come from a content network; ours is in the package
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(Observe, engine=engine, routes=routes | {"/", "/docs", "/openapi.json"}),
            Middleware(Guard, engine=engine, api_key=api_key),
        ],
        exception_handlers={
            errors.Refusal: errors.on_refusal,
            HetsearchError: errors.on_hetsearch_error,
            RequestValidationError: errors.on_validation_error,
            HTTPException: errors.on_http_exception,
        },
    )
    app.state.engine = engine
    for router in ROUTERS:
        app.include_router(router)
    for path, name in (("/", "index.html"), ("/docs", "docs.html")):
        app.add_api_route(path, _sends(PAGE / name), include_in_schema=False)
    app.mount("/page", StaticFiles(directory=PAGE))
    return app


def _sends(file: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def page() -> FileResponse:
        return FileResponse(file, headers={"Content-Security-Policy": POLICY})

    return page
