"""From the body of a request to its model: JSON, or a form whose files are pictures."""

from __future__ import annotations

import asyncio
import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from hetsearch.service.errors import Refusal, refusal_of_validation
from hetsearch.service.forms import read_form

JSON, FORM = "application/json", "multipart/form-data"
AT_ONCE = 65_536  # bytes that may be parsed in the event loop without anybody noticing
MOST_PARTS = 1024  # of a form; how many may be files is the service's setting

M = TypeVar("M", bound=BaseModel)


async def read_json(request: Request, kind: type[M]) -> M:
    """A JSON body as a model. Clients of the Open Inference Protocol do not say that it is JSON.

    Raises:
        Refusal: 400 for no JSON, 415 for another content type, 422 for what the model does not allow.
    """
    if (given := _content_type(request)) not in (JSON, ""):
        raise _unsupported(given, JSON)
    return await _validated(kind, await request.body())


async def read_json_or_form(request: Request, kind: type[M], *, pictures: str, max_images: int) -> M:
    """A JSON body, or a form whose files are the pictures.

    Args:
        request: what came.
        kind: its model.
        pictures: the model's field that the files go into, whatever they are called: one alone, several as a list.
        max_images: files that a form may have.

    Raises:
        Refusal: as of :func:`read_json`; 413 for too many files.
    """
    given = _content_type(request)
    if given == JSON:
        return await _validated(kind, await request.body())
    if given != FORM:
        raise _unsupported(given, f"{JSON} or {FORM}")
    fields, files = await _form(request, max_images)
    if files:
        fields[pictures] = files[0] if len(files) == 1 else files
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise refusal_of_validation(error, "the form") from None


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _unsupported(given: str, expected: str) -> Refusal:
    observed = given[:80] or "no content type"
    return Refusal(415, "unsupported_body", f"the body is of another type: observed {observed}, expected {expected}")


async def _validated(kind: type[M], body: bytes) -> M:
    try:
        if len(body) > AT_ONCE:
            return await asyncio.to_thread(kind.model_validate_json, body)
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise refusal_of_validation(error, "the body") from None


async def _form(request: Request, max_images: int) -> tuple[dict[str, Any], list[bytes]]:
    """The fields of a form, and its files in their order."""
    parts = await read_form(request.headers["content-type"], await request.body(), most=MOST_PARTS)
    files = [bytes(part.content) for part in parts if part.is_file]
    if len(files) > max_images:
        raise too_many_pictures(max_images)
    return {part.name: _value(part.content) for part in parts if not part.is_file}, files


def too_many_pictures(max_images: int) -> Refusal:
    """413 for more pictures in one request than are taken."""
    return Refusal(413, "batch_too_large", f"there are too many pictures: expected at most {max_images}", "Send fewer.")


def _value(content: bytearray) -> Any:
    """A field as text; what looks like a list or an object, as JSON."""
    text = content.decode(errors="replace")
    if not text.startswith(("{", "[")):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
