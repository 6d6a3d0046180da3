"""The service as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

import hetsearch
from hetsearch.errors import HetsearchError
from hetsearch.service import errors
from hetsearch.service.engine import Engine
from hetsearch.service.middleware import Guard, Observe
from hetsearch.service.routes import embeddings, health, inference, page, search
from hetsearch.service.settings import Settings

KEYED = (embeddings.router, search.router, inference.router)
ROUTERS = (*KEYED, health.router, page.router)
DESCRIPTION = (
    "Pictures to vectors of one space, and vectors to the nearest items of a gallery in that space. Every answer names "
    "its space, and a vector of another one is refused. Every error is {\"error\": {code, message, hint}}."
)


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
            Middleware(Observe, engine=engine, routes=routes | {"/openapi.json"}),
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
    # The middleware asks for the key; this only tells readers of the document that they need one.
    keyed = [] if api_key is None else [Security(HTTPBearer(auto_error=False, description="The key of the service."))]
    for router in ROUTERS:
        app.include_router(router, dependencies=keyed if router in KEYED else None)
    return app
