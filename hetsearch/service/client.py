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
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import anyio
import httpx
import numpy as np
from PIL import Image

from hetsearch.errors import ServiceError, UsageError
from hetsearch.gallery import Hit
from hetsearch.preprocess import ImageLike, Pixels
from hetsearch.query import load_encoder
from hetsearch.runtime import Encoder
from hetsearch.runtime.onnx_encoder import named_images, pixels_of
from hetsearch.service.answers import RemoteModel, document_of, hits_of, model_of, vectors_of
from hetsearch.space import Embeddings, Vectors, check_vectors

URL = "http://127.0.0.1:8000"
SECONDS = 30.0
BATCH = 32  # pictures in one request
BUSY = (429, 503)  # asked again after the seconds of Retry-After, if it says some
TRIES = 4
LONGEST = 10.0  # seconds that are waited at once

R = TypeVar("R")
Images: TypeAlias = "ImageLike | Sequence[ImageLike]"
# What is to be sent is yielded, what came is sent in: so one text serves the client that waits and the one that awaits.
Steps: TypeAlias = "Generator[Question, httpx.Response, R]"


@dataclass(frozen=True)
class Question:
    """One request, and the seconds to wait before it."""

    request: dict[str, Any]
    wait: float


class _Protocol:
    def __init__(self, url: str, encoder: Encoder | str | Path | None, api_key: str | None) -> None:
        self.url = _checked(url)
        self.encoder = load_encoder(encoder) if isinstance(encoder, (str, Path)) else encoder
        self._headers = {} if api_key is None else {"Authorization": f"Bearer {api_key}"}
        self._model: RemoteModel | None = None

    def _ask(self, method: str, path: str, **rest: Any) -> Steps[dict[str, Any]]:
        """The JSON of one answer; a service that is busy is asked again when it says so."""
        request = {"method": method, "url": f"{self.url}{path}", "headers": self._headers, **rest}
        answer = yield Question(request, 0.0)
        for _ in range(TRIES - 1):
            wait = answer.headers.get("retry-after", "")
            if answer.status_code not in BUSY or not wait.isdecimal():
                break
            answer = yield Question(request, min(float(wait), LONGEST))
        return document_of(answer)

    def _failed(self, error: httpx.HTTPError) -> ServiceError:
        slow = isinstance(error, httpx.TimeoutException)
        what = f"the service at {self.url} does not answer{' in time' if slow else ''}"
        observed = f"{type(error).__name__}: {error}".removesuffix(": ")
        return ServiceError(what, observed=observed, hint="Give it a longer timeout." if slow else "Is it running?")

    def _model_steps(self) -> Steps[RemoteModel]:
        if self._model is None:
            document = yield from self._ask("GET", "/v1/models")
            self._model = model_of(document)
        return self._model

    def _encode_steps(self, images: Images, keys: Sequence[str] | None) -> Steps[Embeddings]:
        if self.encoder is not None:
            return self.encoder.encode(images, keys)
        model = yield from self._model_steps()
        many = named_images(images, keys)
        rows: list[Vectors] = [np.empty((0, model.dim), dtype=np.float32)]
        for start in range(0, len(many), BATCH):
            pictures = [_png(pixels_of(name, image, model.input)) for name, image in many[start : start + BATCH]]
            files = [("input", ("picture.png", picture)) for picture in pictures]
            form = {"encoding_format": "base64"}
            document = yield from self._ask("POST", "/v1/embeddings", files=files, data=form)
            rows.append(vectors_of(document, model, len(pictures)))
        return Embeddings(np.concatenate(rows), model.space, tuple(name for name, _ in many))

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
            pngs = (_png(pixels_of(name, image, model.input)) for name, image in named_images(images))
            texts = (base64.b64encode(png).decode() for png in pngs)
            bodies = [{"image": f"data:image/png;base64,{text}", "space": model.space} for text in texts]
        found = []
        for body in bodies:
            found.append(hits_of((yield from self._ask("POST", "/v1/search", json={**body, **question}))))
        return found


class Client(_Protocol):
    """Asks a service and waits for the answer; a context manager.

    Args:
        url: of the service.
        encoder: embeds here, so that only vectors are sent; a bundle's folder, or None to send small pictures.
        api_key: what the service asks for.
        timeout: seconds that an answer may take.
        http: an HTTP client of one's own, for proxies and certificates; it is not closed.

    A service that is busy and says for how long is asked again, four times in all. Every call raises ServiceError where
    it does not answer, is still busy, or answers what it should not, and UsageError, ImageError or SpaceMismatch where
    the service, or this side, refuses what is asked.
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
            question = next(steps)
            while True:
                time.sleep(question.wait)
                try:
                    answer = self._http.request(**question.request)
                except httpx.HTTPError as error:
                    raise self._failed(error) from None
                question = steps.send(answer)
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
            question = next(steps)
            while True:
                await anyio.sleep(question.wait)
                try:
                    answer = await self._http.request(**question.request)
                except httpx.HTTPError as error:
                    raise self._failed(error) from None
                question = steps.send(answer)
        except StopIteration as done:
            result: R = done.value
            return result


def _checked(url: str) -> str:
    try:
        known = httpx.URL(url).scheme in ("http", "https")
    except httpx.InvalidURL:
        known = False
    if not known:
        raise UsageError("this is no address of a service", observed=url, expected=f"something like {URL}")
    return url.rstrip("/")


def _png(pixels: Pixels) -> bytes:
    """A picture as the encoder takes it, as PNG: whoever preprocesses that again gets the same pixels."""
    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()
