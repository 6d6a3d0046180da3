"""What the families of paths share: the engine, answers, and how bodies are described."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

from hetsearch.service.bodies import FORM, JSON
from hetsearch.service.engine import Engine
from hetsearch.service.schemas import Problem

_REFUSALS = {
    400: "The body is no JSON, or no form.",
    401: "The API key is missing or wrong.",
    404: "There is nothing of this name.",
    405: "The path has other methods.",
    408: "The body came too slowly.",
    409: "Vectors of another space.",
    413: "Too many bytes, pixels or pictures.",
    415: "Another content type, or no picture of a known format.",
    421: "Another host name.",
    422: "Something in the request cannot be.",
    503: "Full, or not ready: try again after Retry-After seconds.",
}
ANYWHERE = (401, 421)
WITH_A_BODY = (400, 408, 413, 415, 422, 503)


def engine_of(request: Request) -> Engine:
    """The engine of the application that serves a request."""
    engine: Engine = request.app.state.engine
    return engine


def answer(body: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    """A model as JSON: straight from it, not by way of the framework's second validation."""
    return Response(body.model_dump_json(), headers=headers, media_type=JSON)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How a path may refuse, for the OpenAPI document; what any path may is added."""
    chosen = sorted({*statuses, *ANYWHERE})
    return {status: {"model": Problem, "description": _REFUSALS[status]} for status in chosen}


def body_of(
    kind: type[BaseModel],
    *,
    pictures: str | None = None,
    most: int | None = None,
    besides: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A body for the OpenAPI document.

    Args:
        kind: its model, for JSON.
        pictures: with it a form too, whose files go into this field.
        most: how many files; None is the service's setting.
        besides: further content types.
    """
    whole = kind.model_json_schema()
    schema = _inlined(whole, whole.get("$defs", {}))
    examples = schema.pop("examples", [])
    content: dict[str, Any] = {JSON: {"schema": schema}}
    if examples:
        content[JSON]["examples"] = {f"example {place}": {"value": one} for place, one in enumerate(examples, 1)}
    if pictures is not None:
        fields = {name: _in_a_form(field) for name, field in schema["properties"].items() if name != pictures}
        file = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
        file |= {} if most is None else {"maxItems": most}
        form = {"type": "object", "properties": {pictures: file, **fields}, "required": [pictures]}
        content[FORM] = {"schema": form}
    content |= besides or {}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(node: Any, definitions: Mapping[str, Any]) -> Any:
    """A schema with its definitions in their places: a body has no components of its own."""
    if isinstance(node, list):
        return [_inlined(one, definitions) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(one, definitions) for name, one in node.items() if name != "$defs"}


def _in_a_form(field: dict[str, Any]) -> dict[str, Any]:
    """A field of a form is there or not; it is never null."""
    kinds = [kind for kind in field.get("anyOf", []) if kind.get("type") != "null"]
    rest = {name: value for name, value in field.items() if name not in ("anyOf", "default")}
    return {**rest, **kinds[0]} if kinds else field
