"""The Open Inference Protocol, version 2: metadata of the server and the model, and preprocessed pixels to vectors."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

import hetsearch
from hetsearch.errors import DataError
from hetsearch.preprocess import InputSpec, Pixels
from hetsearch.runtime.backends import INPUT, OUTPUT
from hetsearch.service.bodies import read_json, too_many_pictures
from hetsearch.service.errors import Refusal
from hetsearch.service.routes.common import WITH_A_BODY, answer, body_of, engine_of, refusals
from hetsearch.service.routes.embeddings import ModelName, require_model
from hetsearch.service.schemas import (
    InferAnswer,
    InferRequest,
    InputTensor,
    ModelMetadata,
    ModelReady,
    OutputTensor,
    ServerMetadata,
    TensorMetadata,
)

router = APIRouter(tags=["open inference protocol"])


@router.get("/v2", responses=refusals())
async def server() -> ServerMetadata:
    """What answers."""
    return ServerMetadata(name="hetsearch", version=hetsearch.__version__)


@router.get("/v2/models/{model}", responses=refusals(404, 422))
async def metadata(request: Request, model: ModelName) -> ModelMetadata:
    """What a model takes and gives."""
    encoder = require_model(request, model).encoder
    spec = encoder.input
    shape = [-1, spec.channels, spec.size, spec.size]
    return ModelMetadata(
        name=encoder.name,
        inputs=[TensorMetadata(name=INPUT, datatype="UINT8", shape=shape)],
        outputs=[TensorMetadata(name=OUTPUT, datatype="FP32", shape=[-1, encoder.dim])],
        parameters={"space": encoder.space, "input": spec.model_dump(mode="json")},
    )


@router.get("/v2/models/{model}/ready", responses=refusals(404, 422, 503))
async def model_ready(request: Request, model: ModelName) -> ModelReady:
    """Whether a model answers."""
    engine = require_model(request, model)
    engine.require_ready()
    return ModelReady(name=engine.encoder.name, ready=True)


@router.post(
    "/v2/models/{model}/infer",
    response_model=InferAnswer,
    responses=refusals(*WITH_A_BODY, 404),
    openapi_extra=body_of(InferRequest),
)
async def infer(request: Request, model: ModelName) -> Response:
    """Preprocessed pictures to unit vectors: one tensor, ``uint8 (n, C, S, S)``."""
    engine = engine_of(request)
    require_model(request, model)
    asked = await read_json(request, InferRequest)
    if len(asked.inputs) != 1 or asked.inputs[0].name != INPUT or asked.inputs[0].datatype != "UINT8":
        raise _wrong("the inputs", [f"{one.name} {one.datatype}"[:80] for one in asked.inputs[:4]], f"{INPUT} UINT8")
    unknown = [output.name for output in asked.outputs or [] if output.name != OUTPUT]
    if unknown:
        raise _wrong("an output", unknown[0][:80], OUTPUT)
    pixels = _pixels(asked.inputs[0], engine.encoder.input)
    if len(pixels) > engine.settings.max_images:
        raise too_many_pictures(engine.settings.max_images)
    with engine.slots.take(len(pixels) - 1):
        vectors = await engine.embed(list(pixels))
    output = OutputTensor(name=OUTPUT, datatype="FP32", shape=list(vectors.shape), data=vectors.ravel().tolist())
    named = InferAnswer(
        model_name=engine.encoder.name, id=asked.id, parameters={"space": engine.encoder.space}, outputs=[output]
    )
    return answer(named)


def _pixels(tensor: InputTensor, spec: InputSpec) -> Pixels:
    """The numbers of a tensor as ``uint8 (n, channels, size, size)``, n at least 1."""
    inner = (spec.channels, spec.size, spec.size)
    shape = tuple(tensor.shape)
    if len(shape) != 4 or shape[1:] != inner or shape[0] < 1:
        raise _wrong("the shape of a tensor", list(shape), f"[n, {', '.join(map(str, inner))}]")
    numbers = tensor.data
    while numbers and isinstance(numbers[0], list):
        if not all(isinstance(row, list) for row in numbers):
            raise _wrong("the data of a tensor", "lists and numbers mixed", "numbers, flat or nested")
        numbers = list(chain.from_iterable(numbers))
    if len(numbers) != math.prod(shape):
        raise _wrong("the data of a tensor", f"{len(numbers)} values", f"{math.prod(shape)} of them")
    # Not by way of an array: one long text among the numbers would make every cell of it as long.
    if not all(type(number) is int and 0 <= number <= 255 for number in numbers):
        raise _wrong("the data of a tensor", "another value", "whole numbers, 0 to 255")
    return np.frombuffer(bytes(numbers), dtype=np.uint8).reshape(shape)


def _wrong(what: str, observed: Any, expected: str) -> Refusal:
    message = str(DataError(f"{what} cannot be", observed=observed, expected=expected))
    return Refusal(422, "invalid_request", message, "GET /v2/models/{model} says what it takes.")
