"""OpenAI's family: ``/v1/embeddings`` and ``/v1/models``, and the files of a model for who embeds at home."""

from __future__ import annotations

import base64
from typing import Annotated
from urllib.parse import quote

import numpy as np
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from hetsearch.bundle import CARD, ONNX
from hetsearch.service.assets import ASK_AGAIN, WholeFile, has_already
from hetsearch.service.bodies import off_the_loop, read_json_or_form, too_many_pictures
from hetsearch.service.engine import Engine, Steps
from hetsearch.service.errors import Refusal
from hetsearch.service.routes.common import WITH_A_BODY, answer, body_of, engine_of, refusals
from hetsearch.service.schemas import Embedding, EmbeddingsAnswer, EmbeddingsRequest, Model, ModelList
from hetsearch.space import Vectors

router = APIRouter(tags=["embeddings"])

ModelName = Annotated[str, Path(description="The encoder's name, as GET /v1/models gives it.")]


@router.post(
    "/v1/embeddings",
    response_model=EmbeddingsAnswer,
    responses=refusals(*WITH_A_BODY),
    openapi_extra=body_of(EmbeddingsRequest, pictures="input"),
)
async def embeddings(request: Request) -> Response:
    """Embed pictures: data URIs in JSON, or files in a form. OpenAI's clients can ask."""
    engine = engine_of(request)
    most = engine.settings.max_images
    asked = await read_json_or_form(request, EmbeddingsRequest, pictures="input", max_images=most)
    pictures = asked.input if isinstance(asked.input, list) else [asked.input]
    if asked.dimensions not in (None, engine.encoder.dim):
        message = f"vectors have {engine.encoder.dim} numbers, not {asked.dimensions}"
        raise Refusal(422, "invalid_request", message, "Leave out 'dimensions'.")
    if not pictures:
        raise Refusal(422, "invalid_request", "there is no picture in 'input'")
    if len(pictures) > most:
        raise too_many_pictures(most)
    steps = Steps()
    with engine.slots.take(len(pictures) - 1):  # the guard has taken the first one's
        with steps.step("decode"):
            pixels = await engine.decode(pictures)
        with steps.step("embed"):
            vectors = await engine.embed(pixels)
    as_text = asked.encoding_format == "base64"
    return await off_the_loop(vectors.nbytes, lambda: answer(_named(vectors, as_text, engine), steps.header))


@router.get("/v1/models", responses=refusals())
async def models(request: Request) -> ModelList:
    """The encoder that answers, its space and what it takes."""
    return ModelList(data=[_model(engine_of(request))])


@router.get("/v1/models/{model}", responses=refusals(404, 422))
async def model(request: Request, model: ModelName) -> Model:
    """One encoder."""
    return _model(require_model(request, model))


@router.get(
    "/v1/models/{model}/model.onnx",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, **refusals(404, 422)},
)
async def network(request: Request, model: ModelName) -> Response:
    """The network itself, for who embeds at home: ``uint8 (n, C, S, S)`` in, unit vectors out."""
    path = require_model(request, model).encoder.folder / ONNX
    headers = {"Cache-Control": f"private, {ASK_AGAIN}"}
    file = WholeFile(path, headers=headers, media_type="application/octet-stream", stat_result=path.stat())
    return Response(status_code=304, headers=headers) if has_already(request, file.headers["etag"]) else file


def require_model(request: Request, name: str) -> Engine:
    """The engine whose encoder has this name.

    Raises:
        Refusal: 404.
    """
    engine = engine_of(request)
    if name != engine.encoder.name:
        raise Refusal(404, "unknown_model", "there is no model of this name", f"The model is '{engine.encoder.name}'.")
    return engine


def _model(engine: Engine) -> Model:
    encoder, card = engine.encoder, engine.encoder.card
    return Model(
        id=encoder.name,
        created=int((encoder.folder / CARD).stat().st_mtime),
        space=encoder.space,
        dim=encoder.dim,
        role=card.role,
        input=encoder.input,
        params=card.params,
        macs=card.macs,
        precision=card.precision,
        onnx=f"/v1/models/{quote(encoder.name, safe='')}/{ONNX}",
    )


def _named(vectors: Vectors, as_text: bool, engine: Engine) -> EmbeddingsAnswer:
    data = [Embedding(index=row, embedding=_written(vector, as_text)) for row, vector in enumerate(vectors)]
    return EmbeddingsAnswer(data=data, model=engine.encoder.name, space=engine.encoder.space)


def _written(vector: Vectors, as_text: bool) -> list[float] | str:
    if as_text:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = np.asarray(vector).tolist()
    return numbers
