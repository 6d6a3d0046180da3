"""Ask a service from Python: the verbs of :mod:`hetsearch.query`, over HTTP.

>>> from hetsearch.service.client import Client
>>> with Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
...     hits = client.search("shirt.png", k=5)

Pictures are preprocessed here, as the service's encoder wants them, so a photograph of megabytes travels as a
thumbnail; with an encoder of one's own not even that, but its vector alone.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import httpx
import numpy as np
from PIL import Image

from hetsearch.errors import HetsearchError, ImageError, ServiceError, SpaceMismatch, UsageError
from hetsearch.gallery import Hit
from hetsearch.preprocess import ImageLike, InputSpec, preprocess
from hetsearch.query import load_encoder
from hetsearch.runtime import Encoder
from hetsearch.runtime.onnx_encoder import as_images, key_of
from hetsearch.space import Embeddings, Vectors, check_vectors

URL = "http://127.0.0.1:8000"
SECONDS = 30.0
BATCH = 32  # pictures in one request
KINDS: dict[str, type[HetsearchError]] = {
    "space_mismatch": SpaceMismatch,
    "unreadable_image": ImageError,
    "unsupported_image": ImageError,
    "image_too_large": ImageError,
}

R = TypeVar("R")
Images: TypeAlias = "ImageLike | Sequence[ImageLike]"
# What is to be sent is yielded, what came is sent in: so one text serves the client that waits and the one that awaits.
Steps: TypeAlias = Generator[dict[str, Any], httpx.Response, R]


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


class _Protocol:
    def __init__(self, url: str, encoder: Encoder | str | Path | None, api_key: str | None) -> None:
        self.url = url.rstrip("/")
        self.encoder = load_encoder(encoder) if isinstance(encoder, (str, Path)) else encoder
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._model: RemoteModel | None = None

    def _request(self, method: str, path: str, **rest: Any) -> dict[str, Any]:
        return {"method": method, "url": f"{self.url}{path}", "headers": self._headers, **rest}

    def _failed(self, error: httpx.HTTPError | httpx.InvalidURL) -> ServiceError:
        observed = f"{type(error).__name__}: {error}"
        return ServiceError(f"the service at {self.url} does not answer", observed=observed, hint="Is it running?")

    def _model_steps(self) -> Steps[RemoteModel]:
        if self._model is None:
            document = _document((yield self._request("GET", "/v1/models")))
            try:
                one = document["data"][0]
                self._model = RemoteModel(one["id"], one["space"], one["dim"], InputSpec.model_validate(one["input"]))
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise _strange(repr(error)) from None
        return self._model

    def _encode_steps(self, images: Images, keys: Sequence[str] | None) -> Steps[Embeddings]:
        if self.encoder is not None:
            return self.encoder.encode(images, keys)
        model = yield from self._model_steps()
        many = as_images(images)
        names = tuple(keys) if keys is not None else tuple(key_of(place, image) for place, image in enumerate(many))
        rows: list[Vectors] = [np.empty((0, model.dim), dtype=np.float32)]
        for start in range(0, len(many), BATCH):
            files = [("input", ("picture.png", _small(image, model.input))) for image in many[start : start + BATCH]]
            answer = yield self._request("POST", "/v1/embeddings", files=files, data={"encoding_format": "base64"})
            rows.append(_vectors(_document(answer), model, len(files)))
        return Embeddings(np.concatenate(rows), model.space, names)

    def _search_steps(
        self, images: Images | Embeddings, k: int, where: Mapping[str, str | Sequence[str]] | None
    ) -> Steps[list[list[Hit]]]:
        question: dict[str, Any] = {"k": k, "filter": dict(where)} if where else {"k": k}
        if isinstance(images, Embeddings) or self.encoder is not None:
            query = images if isinstance(images, Embeddings) else self.encoder.encode(images)  # type: ignore[union-attr]
            check_vectors(query.vectors, query.dim, what="the query's vectors")
            bodies = [{"vector": row, "space": query.space} for row in query.vectors.tolist()]
        else:
            model = yield from self._model_steps()
            pictures = (base64.b64encode(_small(image, model.input)).decode() for image in as_images(images))
            bodies = [{"image": f"data:image/png;base64,{text}", "space": model.space} for text in pictures]
        found = []
        for body in bodies:
            found.append(_hits(_document((yield self._request("POST", "/v1/search", json={**body, **question})))))
        return found


class Client(_Protocol):
    """Asks a service and waits for the answer; a context manager.

    Args:
        url: of the service.
        encoder: embeds here, so that only vectors are sent; a bundle's folder, or None to send small pictures.
        api_key: what the service asks for.
        timeout: seconds that an answer may take.
        http: an HTTP client of one's own, for proxies and certificates; it is not closed.

    Every call raises ServiceError where the service does not answer, is busy, or answers what it should not, and
    UsageError, ImageError or SpaceMismatch where the service, or this side, refuses what is asked.
    """

    def __init__(
        self,
        url: str = URL,
        *,
        encoder: Encoder | str | Path | None = None,
        api_key: str | None = None,
        timeout: float = SECONDS,
        http: httpx.Client | None = None,
    ) -> None:
        super().__init__(url, encoder, api_key)
        self._owned = http is None
        self._http = httpx.Client(timeout=timeout) if http is None else http

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        if self._owned:
            self._http.close()

    def model(self) -> RemoteModel:
        """The encoder behind the service; asked once."""
        return self._run(self._model_steps())

    def encode(self, images: Images, keys: Sequence[str] | None = None) -> Embeddings:
        """Embed one picture or many, ``(n, dim)``; as :meth:`hetsearch.runtime.Encoder.encode`."""
        return self._run(self._encode_steps(images, keys))

    def search(
        self, images: Images | Embeddings, k: int = 10, where: Mapping[str, str | Sequence[str]] | None = None
    ) -> list[list[Hit]]:
        """The nearest items of each picture or vector; as :func:`hetsearch.query.search`."""
        return self._run(self._search_steps(images, k, where))

    def _run(self, steps: Steps[R]) -> R:
        try:
            request = next(steps)
            while True:
                try:
                    answer = self._http.request(**request)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise self._failed(error) from None
                request = steps.send(answer)
        except StopIteration as done:
            result: R = done.value
            return result


class AsyncClient(_Protocol):
    """As :class:`Client`, awaited: ``async with AsyncClient() as client: await client.search(…)``."""

    def __init__(
        self,
        url: str = URL,
        *,
        encoder: Encoder | str | Path | None = None,
        api_key: str | None = None,
        timeout: float = SECONDS,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        super().__init__(url, encoder, api_key)
        self._owned = http is None
        self._http = httpx.AsyncClient(timeout=timeout) if http is None else http

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._owned:
            await self._http.aclose()

    async def model(self) -> RemoteModel:
        """The encoder behind the service; asked once."""
        return await self._run(self._model_steps())

    async def encode(self, images: Images, keys: Sequence[str] | None = None) -> Embeddings:
        """Embed one picture or many, ``(n, dim)``; as :meth:`hetsearch.runtime.Encoder.encode`."""
        return await self._run(self._encode_steps(images, keys))

    async def search(
        self, images: Images | Embeddings, k: int = 10, where: Mapping[str, str | Sequence[str]] | None = None
    ) -> list[list[Hit]]:
        """The nearest items of each picture or vector; as :func:`hetsearch.query.search`."""
        return await self._run(self._search_steps(images, k, where))

    async def _run(self, steps: Steps[R]) -> R:
        try:
            request = next(steps)
            while True:
                try:
                    answer = await self._http.request(**request)
                except (httpx.HTTPError, httpx.InvalidURL) as error:
                    raise self._failed(error) from None
                request = steps.send(answer)
        except StopIteration as done:
            result: R = done.value
            return result


def _small(image: ImageLike, spec: InputSpec) -> bytes:
    """A picture as the encoder takes it, as PNG: whoever preprocesses that again gets the same pixels."""
    pixels = preprocess(image, spec)
    file = io.BytesIO()
    Image.fromarray(pixels[0] if spec.channels == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


def _document(answer: httpx.Response) -> dict[str, Any]:
    """The JSON of an answer, or the error that it tells of."""
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


def _vectors(document: dict[str, Any], model: RemoteModel, count: int) -> Vectors:
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


def _hits(document: dict[str, Any]) -> list[Hit]:
    try:
        return [Hit(hit["key"], hit["score"], hit["item"]) for hit in document["hits"]]
    except (KeyError, TypeError) as error:
        raise _strange(repr(error)) from None


def _strange(observed: str) -> ServiceError:
    return ServiceError("the answer is not that of a hetsearch service", observed=observed, hint="Check the URL.")
