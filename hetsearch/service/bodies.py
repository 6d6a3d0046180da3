"""From the body of a request to its model: JSON, or a form whose files are pictures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from hetsearch.service.errors import Refusal, refusal_of_validation

JSON, FORM = "application/json", "multipart/form-data"
AT_ONCE = 65_536  # bytes that may be parsed in the event loop without anybody noticing
FIELDS = 16  # of a form that are no files

M = TypeVar("M", bound=BaseModel)


async def read_json(request: Request, kind: type[M]) -> M:
    """A JSON body as a model.

    Raises:
        Refusal: 400 for no JSON, 415 for another content type, 422 for what the model does not allow.
    """
    if (given := _content_type(request)) != JSON:
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
    body = await request.body()
    parser = MultiPartParser(request.headers, _pieces(body), max_files=max_images + 1, max_fields=FIELDS)
    parser.spool_max_size = len(body) + 1  # nothing of it is ever written to disk
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "message", "no valid multipart form")
        too_many = reason.startswith("Too many files")
        if too_many:
            raise too_many_pictures(max_images) from None
        raise Refusal(400, "malformed_body", f"the form cannot be read: {reason[:200]}") from None
    fields: dict[str, Any] = {}
    files = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            files.append(await value.read())
        else:
            fields[name] = _json(value) if value.startswith(("{", "[")) else value
    await form.close()
    if len(files) > max_images:
        raise too_many_pictures(max_images)
    return fields, files


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), AT_ONCE):
        yield body[start : start + AT_ONCE]
        await asyncio.sleep(0)  # others have their turn
    yield b""


def too_many_pictures(max_images: int) -> Refusal:
    """413 for more pictures in one request than are taken."""
    return Refusal(413, "batch_too_large", f"there are too many pictures: expected at most {max_images}", "Send fewer.")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
