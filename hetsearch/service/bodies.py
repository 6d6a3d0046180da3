"""From the body of a request to its model: JSON, or a form whose files are pictures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from hetsearch.service.errors import Refusal, refusal_of_validation
from hetsearch.service.forms import Part, read_form

JSON, FORM, BINARY = "application/json", "multipart/form-data", "application/octet-stream"
JSON_LENGTH = "Inference-Header-Content-Length"  # where the JSON ends and binary tensors begin
AT_ONCE = 65_536  # bytes that may be read or written in the event loop without anybody noticing
MOST_PARTS = 1024  # of a form; how many may be files is the service's setting

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


async def read_json_and_binary(request: Request, kind: type[M]) -> tuple[M, memoryview]:
    """A JSON body as a model, and what lies after it: binary tensors of the Open Inference Protocol.

    Its clients do not say that a body is JSON; whether bytes follow is for the header :data:`JSON_LENGTH` alone.

    Raises:
        Refusal: 400 for no JSON or a length that it cannot have, 415 for another content type, 422 for what the model
            does not allow.
    """
    if (given := _content_type(request)) not in (JSON, BINARY, ""):
        raise _unsupported(given, f"{JSON} or {BINARY}")
    body = await request.body()
    end = _json_length(request.headers.getlist(JSON_LENGTH), len(body))
    return await _validated(kind, body[:end]), memoryview(body)[end:]


async def read_json_or_form(request: Request, kind: type[M], *, pictures: str, max_images: int) -> M:
    """A JSON body, or a form whose files are the pictures.

    Args:
        request: what came.
        kind: its model.
        pictures: the model's field that the files go into, whatever they are called: one alone, several as a list.
        max_images: files that a form may have.

    Raises:
        Refusal: 400 for no JSON and no form, 413 for too many files, 415 for another content type, 422 for what the
            model does not allow.
    """
    given = _content_type(request)
    if given == JSON:
        return await _validated(kind, await request.body())
    if given != FORM:
        raise _unsupported(given, f"{JSON} or {FORM}")
    parts = await read_form(request.headers["content-type"], await request.body(), most=MOST_PARTS)
    files = [bytes(part.content) for part in parts if part.is_file]
    if len(files) > max_images:
        raise too_many_pictures(max_images)
    fields = [part for part in parts if not part.is_file]
    given_files = {pictures: files[0] if len(files) == 1 else files} if files else {}
    return await off_the_loop(sum(len(field.content) for field in fields), lambda: _filled(kind, fields, given_files))


async def off_the_loop(size: int, work: Callable[[], T]) -> T:
    """Do what takes time in proportion to ``size`` bytes: in a thread, unless they are few."""
    return await asyncio.to_thread(work) if size > AT_ONCE else work()


def _content_type(request: Request) -> str:
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        message = f"the body is encoded: observed {coding[:80]}, expected no Content-Encoding"
        raise Refusal(415, "unsupported_body", message, "Send it as it is.")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _json_length(given: Sequence[str], whole: int) -> int:
    """Bytes of the JSON at the beginning of a body of ``whole`` bytes, which is all of it unless a header says so."""
    if not given:
        return whole
    text = given[0]
    if len(given) > 1 or not (text.isascii() and text.isdigit()):
        raise _no_length(f"{JSON_LENGTH} is no number of bytes: observed {', '.join(given)[:80]!r}")
    if len(text) > 20 or int(text) > whole:
        raise _no_length(f"{JSON_LENGTH} ends after the body: observed {text[:20]}, expected at most {whole}")
    return int(text)


def _no_length(message: str) -> Refusal:
    return Refusal(400, "malformed_body", message, "It counts the bytes of the JSON before the binary tensors.")


def _unsupported(given: str, expected: str) -> Refusal:
    observed = given[:80] or "no content type"
    return Refusal(415, "unsupported_body", f"the body is of another type: observed {observed}, expected {expected}")


async def _validated(kind: type[M], body: bytes) -> M:
    try:
        return await off_the_loop(len(body), lambda: kind.model_validate_json(body))
    except ValidationError as error:
        raise refusal_of_validation(error, "the body") from None


def _filled(kind: type[M], fields: Sequence[Part], files: dict[str, Any]) -> M:
    try:
        return kind.model_validate({field.name: _value(field.content) for field in fields} | files)
    except ValidationError as error:
        raise refusal_of_validation(error, "the form") from None


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
