"""What a refused request is answered: its own status, and one shape, ``{"error": {"code", "message", "hint"}}``.

400 malformed_body          no JSON, or no multipart form
    malformed_request       no HTTP
401 unauthorized            no API key, or another one
404 not_found, no_gallery, unknown_model, unknown_item, no_picture
405 method_not_allowed
408 body_too_slow, head_too_slow
409 space_mismatch          vectors of another space
413 body_too_large, image_too_large, batch_too_large
415 unsupported_body, unsupported_image
421 unknown_host
422 invalid_request, unreadable_image, and what else can be read and not done
431 head_too_large
503 queue_full, not_ready, gallery_unreachable   with Retry-After
500 internal_error          never with a word about the inside
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from hetsearch.errors import HetsearchError, ImageError, SpaceMismatch, UsageError
from hetsearch.gallery.stores.milvus_client import Unreachable
from hetsearch.service.schemas import Problem, ProblemDetail

RETRY_AFTER = "1"  # seconds; a full queue of a small network is empty again by then
CODES = {404: "not_found", 405: "method_not_allowed"}
KINDS: tuple[tuple[type[HetsearchError], int, str], ...] = (
    (SpaceMismatch, 409, "space_mismatch"),
    (ImageError, 422, "unreadable_image"),
    (UsageError, 422, "invalid_request"),
)


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        code: for programs, stable.
        message: what is wrong, for people.
        hint: what to do about it.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        hint: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint, self.headers = status, code, message, hint, headers

    def response(self) -> Response:
        """The answer."""
        body = Problem(error=ProblemDetail(code=self.code, message=self.message, hint=self.hint))
        return Response(body.model_dump_json(), self.status, self.headers, "application/json")


def busy(code: str, message: str) -> Refusal:
    """503, to be tried again."""
    return Refusal(503, code, message, "Try again after the seconds of Retry-After.", {"Retry-After": RETRY_AFTER})


def refusal_of(error: HetsearchError) -> Refusal | None:
    """What a request did wrong; None where it is the service's own fault, of which nothing may be said outside."""
    if isinstance(error, Unreachable):
        return busy("gallery_unreachable", "the gallery's database does not answer")
    for kind, status, code in KINDS:
        if isinstance(error, kind):
            message = str(error).removesuffix(f". {error.hint}")
            return Refusal(status, code, message, error.hint)
    return None


def refusal_of_validation(error: ValidationError, where: str = "the request") -> Refusal:
    """The first thing that a schema does not allow. What was sent is not repeated: it may be megabytes."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return Refusal(400, "malformed_body", f"the body is no JSON: {first['msg']}")
    place = ".".join(str(part) for part in first["loc"][:3])
    subject = f"'{place[:80]}' in {where}" if place else where
    return Refusal(422, "invalid_request", f"{subject} is wrong: {first['msg']}", "GET /openapi.json has the schema.")


async def on_refusal(request: Request, error: Exception) -> Response:
    """Handler of :class:`Refusal`."""
    assert isinstance(error, Refusal)
    return error.response()


async def on_hetsearch_error(request: Request, error: Exception) -> Response:
    """Handler of what the rooms below raise; raises what is no fault of the request."""
    assert isinstance(error, HetsearchError)
    refusal = refusal_of(error)
    if refusal is None:
        raise error
    return refusal.response()


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Handler of what the framework refuses: an unknown path, a method that a path does not have."""
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "refused")
    hint = "GET /openapi.json lists every path."
    return Refusal(error.status_code, code, str(error.detail), hint, error.headers).response()


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Handler of a path or query parameter that is not what the schema says."""
    first: dict[str, Any] = error.errors()[0]  # type: ignore[attr-defined]
    place = ".".join(map(str, first["loc"]))
    return Refusal(422, "invalid_request", f"'{place}' is wrong: {first['msg']}").response()
