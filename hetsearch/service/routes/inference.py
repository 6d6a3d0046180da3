"""The Open Inference Protocol, version 2: metadata of the server and the model, and preprocessed pixels to vectors.

Tensors go as JSON, or, with the extension ``binary_tensor_data``, as bytes after it.
"""

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
from hetsearch.service.bodies import BINARY, JSON, JSON_LENGTH, off_the_loop, read_json_and_binary, too_many_pictures
from hetsearch.service.engine import Engine
from hetsearch.service.errors import Refusal
from hetsearch.service.routes.common import WITH_A_BODY, body_of, engine_of, refusals
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
    TensorParameters,
)
from hetsearch.space import Vectors

router = APIRouter(tags=["open inference protocol"])

_BYTES = {BINARY: {"schema": {"type": "string", "format": "binary", "description": "JSON, and tensors after it."}}}
_JSON_LENGTH = {
    "name": JSON_LENGTH,
    "in": "header",
    "schema": {"type": "integer", "minimum": 0},
    "description": "Bytes of the JSON at the beginning of the body; left out, the body is JSON to its end.",
}


@router.get("/v2", responses=refusals())
async def server() -> ServerMetadata:
    """What answers."""
    return ServerMetadata(name="hetsearch", version=hetsearch.__version__, extensions=["binary_tensor_data"])


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
    responses={200: {"content": _BYTES}, **refusals(*WITH_A_BODY, 404)},
    openapi_extra={**body_of(InferRequest, besides=_BYTES), "parameters": [_JSON_LENGTH]},
)
async def infer(request: Request, model: ModelName) -> Response:
    """Preprocessed pictures to unit vectors: one tensor, ``uint8 (n, C, S, S)``."""
    engine = engine_of(request)
    require_model(request, model)
    asked, binary = await read_json_and_binary(request, InferRequest)
    if len(asked.inputs) != 1 or asked.inputs[0].name != INPUT or asked.inputs[0].datatype != "UINT8":
        raise _wrong("the inputs", [f"{one.name} {one.datatype}"[:80] for one in asked.inputs[:4]], f"{INPUT} UINT8")
    unknown = [output.name for output in asked.outputs or [] if output.name != OUTPUT]
    if unknown:
        raise _wrong("an output", unknown[0][:80], OUTPUT)
    [tensor], spec, most = asked.inputs, engine.encoder.input, engine.settings.max_images
    size = len(await request.body())
    pixels = await off_the_loop(size, lambda: _pixels(tensor, binary, spec, most))
    with engine.slots.take(len(pixels) - 1):
        vectors = await engine.embed(list(pixels))
    return await off_the_loop(vectors.nbytes, lambda: _answer(vectors, asked, engine))


def _answer(vectors: Vectors, asked: InferRequest, engine: Engine) -> Response:
    """The vectors as they were asked for: as numbers, or as bytes after the JSON."""
    wanted = [output.parameters.binary_data for output in asked.outputs or [] if output.parameters is not None]
    said = [one for one in wanted if one is not None]
    as_bytes = said[-1] if said else asked.parameters is not None and asked.parameters.binary_data_output
    binary = vectors.astype("<f4").tobytes() if as_bytes else b""
    output = OutputTensor(
        name=OUTPUT,
        datatype="FP32",
        shape=list(vectors.shape),
        data=None if as_bytes else vectors.ravel().tolist(),
        parameters=TensorParameters(binary_data_size=len(binary)) if as_bytes else None,
    )
    named = InferAnswer(
        model_name=engine.encoder.name, id=asked.id, parameters={"space": engine.encoder.space}, outputs=[output]
    )
    head = named.model_dump_json(exclude_none=True).encode()
    if not as_bytes:
        return Response(head, media_type=JSON)
    return Response(head + binary, headers={JSON_LENGTH: str(len(head))}, media_type=BINARY)


def _pixels(tensor: InputTensor, binary: memoryview, spec: InputSpec, most: int) -> Pixels:
    """What a tensor holds, as ``uint8 (n, channels, size, size)``, n from 1 to ``most``."""
    inner = (spec.channels, spec.size, spec.size)
    shape = tuple(tensor.shape)
    if len(shape) != 4 or shape[1:] != inner or shape[0] < 1:
        raise _wrong("the shape of a tensor", list(shape), f"[n, {', '.join(map(str, inner))}]")
    if shape[0] > most:
        raise too_many_pictures(most)
    told = None if tensor.parameters is None else tensor.parameters.binary_data_size
    if (told is None) == (tensor.data is None):
        raise _wrong("a tensor", "neither" if told is None else "both", "'data', or a 'binary_data_size'")
    if len(binary) != (told or 0):
        raise _wrong("the binary data", f"{len(binary)} bytes after the JSON", f"{told or 0} by its binary_data_size")
    if tensor.data is not None:
        return _listed(tensor.data, shape)
    if told != math.prod(shape):
        raise _wrong("the binary data of a tensor", f"{told} bytes", f"{math.prod(shape)} of them")
    return np.frombuffer(binary, dtype=np.uint8).reshape(shape)


def _listed(numbers: list[Any], shape: tuple[int, ...]) -> Pixels:
    """Numbers, flat or nested."""
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
