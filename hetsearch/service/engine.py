"""What answers: pictures are decoded in a small pool, embedded and searched in batches in a thread each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from hetsearch.errors import HetsearchError
from hetsearch.gallery import Hit
from hetsearch.preprocess import Pixels
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.service.batching import Batcher, Slots
from hetsearch.service.collection import Collection
from hetsearch.service.errors import Refusal, busy
from hetsearch.service.images import read_picture
from hetsearch.service.metrics import Metrics
from hetsearch.service.settings import Settings
from hetsearch.space import Embeddings, Vectors

log = logging.getLogger("hetsearch.service")

T = TypeVar("T")

# Which items to look at: for each field its values. Hashable, so that equal questions are asked together.
Filter: TypeAlias = "tuple[tuple[str, tuple[str, ...]], ...]"


@dataclass(frozen=True)
class Question:
    """One search.

    Attributes:
        vector: ``(dim,)``, unit length.
        k: hits.
        where: which items.
    """

    vector: Vectors
    k: int
    where: Filter


@dataclass(frozen=True)
class Answer:
    """Hits, and the generation of the gallery that they are of."""

    hits: list[Hit]
    generation: int


class Steps:
    """Milliseconds of a request's steps, as ``Server-Timing`` says them."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure a block; a step that raises is not noted, since its request is refused."""
        begin = time.perf_counter()
        yield
        self._steps.append((name, (time.perf_counter() - begin) * 1e3))

    @property
    def header(self) -> dict[str, str]:
        """The header of the answer."""
        return {"Server-Timing": ", ".join(f"{name};dur={took:.3f}" for name, took in self._steps)}


class Engine:
    """An encoder and perhaps a gallery, ready to be asked from an event loop.

    Args:
        settings: what to serve and within which limits.

    Attributes:
        encoder: embeds what is asked.
        collection: the gallery; None without one.
        metrics: what is counted.
        slots: how many pictures may be in the house.

    Raises:
        HetsearchError: the bundle or the gallery cannot be opened, or they are of different spaces.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.encoder: OnnxEncoder = load_encoder(settings.encoder, threads=settings.threads, backend=settings.backend)
        space = self.encoder.space
        self.collection = None if settings.gallery is None else Collection(settings.gallery, space)
        self.metrics = metrics = Metrics(self.encoder.name, space)
        self.slots = Slots(settings.queue)
        metrics.queue_depth.set_function(lambda: self.slots.taken)
        metrics.gallery_items.set_function(lambda: len(self.collection.gallery) if self.collection else 0)
        self._decoders = ThreadPoolExecutor(settings.decoders, thread_name_prefix="decode")
        most, wait = settings.max_batch, settings.batch_wait_ms / 1e3
        self._embedder = Batcher[Pixels, Vectors](self._embed, most=most, wait=wait, observe=metrics.inference)
        self._searcher = Batcher[Question, Answer](
            self._search, most=most, observe=lambda seconds, count: metrics.search_seconds.observe(seconds)
        )
        self._watch: asyncio.Task[None] | None = None
        self._warm = False

    @property
    def ready(self) -> bool:
        """Whether what is asked now will be answered."""
        return self._warm and self._embedder.alive and self._searcher.alive

    async def start(self) -> None:
        """Begin in the running event loop, and answer once for nobody: the first call of a network is the slowest."""
        await asyncio.to_thread(self._warm_up)
        self._embedder.start()
        self._searcher.start()
        if self.collection is not None:
            self._watch = asyncio.get_running_loop().create_task(self._follow(self.collection))
        self._warm = True

    async def stop(self) -> None:
        """End; every request must have been answered."""
        self._warm = False
        if self._watch is not None:
            self._watch.cancel()
        await self._embedder.stop()
        await self._searcher.stop()
        self._decoders.shutdown()

    def require_ready(self) -> None:
        """Refuse what cannot be answered.

        Raises:
            Refusal: 503.
        """
        if not self.ready:
            raise busy("not_ready", "the service is starting or ending")

    def require_collection(self) -> Collection:
        """The gallery.

        Raises:
            Refusal: 404, there is none.
        """
        if self.collection is None:
            raise Refusal(404, "no_gallery", "this service has no gallery", "Start it with --gallery GALLERY.")
        return self.collection

    async def decode(self, pictures: Sequence[str | bytes]) -> list[Pixels]:
        """Pictures of a request as preprocessed pixels; see :func:`hetsearch.service.images.read_picture`."""
        loop = asyncio.get_running_loop()
        begun = [loop.run_in_executor(self._decoders, self._decode, item) for item in pictures]
        try:
            return await asyncio.gather(*begun)
        finally:
            # After one that cannot be read nobody waits for the others, and their places are free: they must not be
            # decoded for nothing, in front of everybody else's.
            for one in begun:
                one.cancel()

    async def embed(self, pixels: Sequence[Pixels]) -> Vectors:
        """Preprocessed pictures as unit vectors, ``(n, dim)``."""
        return np.stack(await asyncio.gather(*(self._embedder.ask(item) for item in pixels)))

    async def search(self, question: Question) -> Answer:
        """The nearest items; UsageError for a filter on a field that the items do not have."""
        return await self._searcher.ask(question)

    async def in_pool(self, work: Callable[[], T]) -> T:
        """Anything else that reads a picture, in the threads that decode."""
        return await asyncio.get_running_loop().run_in_executor(self._decoders, work)

    def _warm_up(self) -> None:
        spec = self.encoder.input
        blank = np.full((spec.channels, spec.size, spec.size), spec.background, dtype=np.uint8)
        for count in (1, self.settings.max_batch):
            self._embed([blank] * count)
        if self.collection is not None:
            self._search([Question(np.eye(1, self.encoder.dim, dtype=np.float32)[0], 1, ())])

    def _decode(self, picture: str | bytes) -> Pixels:
        with self.metrics.decode_seconds.time():
            return read_picture(picture, self.encoder.input, self.settings.max_pixels)

    def _embed(self, pixels: list[Pixels]) -> list[Vectors]:
        return list(self.encoder.encode_pixels(np.stack(pixels)))

    def _search(self, questions: list[Question]) -> list[Answer | Exception]:
        gallery = self.require_collection().gallery
        answers: dict[int, Answer | Exception] = {}
        alike: dict[tuple[int, Filter], list[int]] = {}
        for place, question in enumerate(questions):
            alike.setdefault((question.k, question.where), []).append(place)
        for (k, where), places in alike.items():
            vectors = np.stack([questions[place].vector for place in places])
            query = Embeddings(vectors, self.encoder.space, tuple(map(str, places)))
            try:
                rows = gallery.search(query, k, dict(where), warn=False)
            except HetsearchError as error:
                answers |= dict.fromkeys(places, error)
            else:
                # Read here, off the event loop: hits are looked up when they are read.
                found = [Answer(list(hits), gallery.card.generation) for hits in rows]
                answers |= dict(zip(places, found, strict=True))
        return [answers[place] for place in range(len(questions))]

    async def _follow(self, collection: Collection) -> None:
        while True:
            await asyncio.sleep(self.settings.reload_seconds)
            await asyncio.to_thread(collection.refresh)
