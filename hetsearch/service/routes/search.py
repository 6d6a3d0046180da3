"""Search a gallery, and show its items."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from hetsearch.gallery import Hit
from hetsearch.service.bodies import read_json_or_form
from hetsearch.service.engine import Engine, Filter, Question, Steps
from hetsearch.service.errors import Refusal
from hetsearch.service.routes.common import WITH_A_BODY, answer, body_of, engine_of, refusals
from hetsearch.service.schemas import SearchAnswer, SearchHit, SearchRequest
from hetsearch.service.thumbnails import LARGEST, thumbnail
from hetsearch.space import Vectors, check_vectors, require_space

router = APIRouter(tags=["search"])


@router.post(
    "/v1/search",
    response_model=SearchAnswer,
    responses=refusals(*WITH_A_BODY, 404, 409),
    openapi_extra=body_of(SearchRequest, pictures="image", most=1),
)
async def search(request: Request) -> Response:
    """The nearest items of the gallery for a picture, or for a vector with the space that it lies in."""
    engine = engine_of(request)
    collection = engine.require_collection()
    asked = await read_json_or_form(request, SearchRequest, pictures="image", max_images=1)
    if asked.k > engine.settings.max_k:
        message = f"k is too large: observed {asked.k}, expected at most {engine.settings.max_k}"
        raise Refusal(422, "invalid_request", message)
    steps = Steps()
    vector = await _vector(engine, asked, steps)
    with steps.step("search"):
        found = await engine.search(Question(vector, asked.k, _where(asked)))
    shown = collection.has_pictures
    hits = [_hit(hit, shown) for hit in found.hits]
    named = {"model": engine.encoder.name, "space": engine.encoder.space, "generation": found.generation}
    return answer(SearchAnswer(hits=hits, k=asked.k, **named), steps.header)  # type: ignore[arg-type]


@router.get(
    "/v1/items/{key:path}/image",
    response_class=Response,
    responses={200: {"content": {"image/png": {}, "image/jpeg": {}}}, **refusals(404, 422, 503)},
)
async def item_image(
    request: Request,
    key: Annotated[str, Path(description="Of an item of the gallery.")],
    size: Annotated[int, Query(ge=1, le=LARGEST, description="Longest side, pixels; never enlarged.")] = LARGEST,
) -> Response:
    """The picture of an item, small."""
    engine = engine_of(request)
    collection = engine.require_collection()
    with engine.slots.take():
        small = await engine.in_pool(lambda: thumbnail(collection, key, size))
    return Response(small.content, media_type=small.media_type, headers={"Cache-Control": "private, max-age=300"})


async def _vector(engine: Engine, asked: SearchRequest, steps: Steps) -> Vectors:
    """What is asked, as ``(dim,)``."""
    if (asked.image is None) == (asked.vector is None):
        observed = "neither" if asked.image is None else "both"
        message = f"a search is for an image or for a vector: observed {observed}"
        raise Refusal(422, "invalid_request", message, "Send 'image', or 'vector' with 'space'.")
    if asked.space is not None:
        require_space(asked.space, engine.encoder.space, what="the request and the gallery")
    if asked.vector is not None:
        if asked.space is None:
            hint = "Send the 'space' that came with the vector: vectors of two models must not be mixed."
            raise Refusal(422, "invalid_request", "a vector needs its space", hint)
        return _checked(asked.vector, engine.encoder.dim)
    if not isinstance(asked.image, (str, bytes)):  # already excluded above
        raise Refusal(422, "invalid_request", "there is no image")
    with steps.step("decode"):
        pixels = await engine.decode([asked.image])
    with steps.step("embed"):
        vectors = await engine.embed(pixels)
    first: Vectors = vectors[0]
    return first


def _checked(numbers: list[float], dim: int) -> Vectors:
    vectors = np.asarray([numbers], dtype=np.float64)
    with np.errstate(over="ignore"):  # a norm of infinity is refused like any other
        check_vectors(vectors, dim, what="the request's vectors")
    vector: Vectors = vectors[0].astype(np.float32)
    return vector


def _where(asked: SearchRequest) -> Filter:
    chosen = (asked.filter or {}).items()
    return tuple(sorted((name, (given,) if isinstance(given, str) else tuple(given)) for name, given in chosen))


def _hit(hit: Hit, shown: bool) -> SearchHit:
    # Where the file lies on the server is nobody's business.
    known = {name: value for name, value in hit.item.items() if name != "path"}
    image = f"/v1/items/{quote(hit.key, safe='')}/image" if shown else None
    return SearchHit(key=hit.key, score=hit.score, item=known, image=image)
