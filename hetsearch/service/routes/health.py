"""Whether it lives, whether it answers, and its numbers."""

from __future__ import annotations

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

import hetsearch
from hetsearch.service.routes.common import answer, engine_of, refusals
from hetsearch.service.schemas import Health

router = APIRouter(tags=["health"])


@router.get("/v2/health/live", response_class=Response, responses=refusals())
async def live() -> Response:
    """200 while the process answers at all."""
    return Response()


@router.get("/v2/health/ready", response_class=Response, responses=refusals(503))
async def ready(request: Request) -> Response:
    """200 when requests are answered: after the warm-up, and until the end begins."""
    engine_of(request).require_ready()
    return Response()


@router.get("/health", response_model=Health, responses=refusals(503))
@router.get("/ping", response_model=Health, responses=refusals(503))
async def health(request: Request) -> Response:
    """As ``/v2/health/ready``, with what is served."""
    engine = engine_of(request)
    engine.require_ready()
    collection = engine.collection
    return answer(
        Health(
            status="ready",
            version=hetsearch.__version__,
            model=engine.encoder.name,
            space=engine.encoder.space,
            items=None if collection is None else len(collection.gallery),
            generation=None if collection is None else collection.generation,
        )
    )


@router.get(
    "/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}, **refusals()}
)
async def metrics(request: Request) -> Response:
    """The numbers of the service, for Prometheus."""
    return Response(generate_latest(engine_of(request).metrics.registry), media_type=CONTENT_TYPE_LATEST)
