"""What a service answers, as the objects and the errors of the library."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from hetsearch.errors import HetsearchError, ImageError, ServiceError, SpaceMismatch, UsageError
from hetsearch.gallery import Hit
from hetsearch.preprocess import InputSpec
from hetsearch.space import Vectors

KINDS: dict[str, type[HetsearchError]] = {
    "space_mismatch": SpaceMismatch,
    "unreadable_image": ImageError,
    "unsupported_image": ImageError,
    "image_too_large": ImageError,
}


@dataclass(frozen=True)
class RemoteModel:
    """The encoder behind a service.

    Attributes:
        name: of the encoder.
        space: id of the space that its vectors lie in.
        dim: length of a vector.
        input: what it takes.
    """

    name: str
    space: str
    dim: int
    input: InputSpec


def document_of(answer: httpx.Response) -> dict[str, Any]:
    """The JSON of an answer.

    Raises:
        HetsearchError: the error that it tells of, or ServiceError where it is no answer of a service.
    """
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _strange(f"{answer.status_code} {answer.headers.get('content-type')}")
    if answer.is_success:
        return document
    error = document.get("error")
    if not isinstance(error, dict):
        raise _strange(f"{answer.status_code} without an error")
    kind = ServiceError if answer.status_code >= 500 else KINDS.get(str(error.get("code")), UsageError)
    wait = answer.headers.get("retry-after")
    hint = f"Try again in {wait} s." if wait else error.get("hint")
    raise kind(f"the service refuses ({answer.status_code}): {error.get('message')}", hint=hint)


def model_of(document: dict[str, Any]) -> RemoteModel:
    """The encoder of ``GET /v1/models``.

    Raises:
        ServiceError: there is none in it.
    """
    try:
        one = document["data"][0]
        return RemoteModel(one["id"], one["space"], one["dim"], InputSpec.model_validate(one["input"]))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _strange(repr(error)) from None


def vectors_of(document: dict[str, Any], model: RemoteModel, count: int) -> Vectors:
    """The vectors of ``POST /v1/embeddings``, ``(count, dim)``.

    Raises:
        ServiceError: they are of another encoder, or not so many.
    """
    try:
        if (document["model"], document["space"]) != (model.name, model.space):
            raise ServiceError(
                "the service has changed its encoder",
                observed=f"{document['model']} of {document['space']}",
                expected=f"{model.name} of {model.space}",
                hint="Make a new client.",
            )
        rows = [np.frombuffer(base64.b64decode(row["embedding"]), dtype="<f4") for row in document["data"]]
        vectors: Vectors = np.stack(rows).astype(np.float32).reshape(count, model.dim)
    except (KeyError, TypeError, ValueError) as error:
        raise _strange(repr(error)) from None
    return vectors


def hits_of(document: dict[str, Any]) -> list[Hit]:
    """The hits of ``POST /v1/search``.

    Raises:
        ServiceError: there are none in it.
    """
    try:
        return [Hit(hit["key"], hit["score"], hit["item"]) for hit in document["hits"]]
    except (KeyError, TypeError) as error:
        raise _strange(repr(error)) from None


def _strange(observed: str) -> ServiceError:
    return ServiceError("the answer is not that of a hetsearch service", observed=observed, hint="Check the URL.")
