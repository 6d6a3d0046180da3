"""Many clients at once: each gets the answer to its own request."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np

from hetsearch.preprocess import InputSpec
from hetsearch.runtime import OnnxEncoder
from hetsearch.service.client import AsyncClient
from tests.service.serving import Service
from tests.support import linear_vectors

CLIENTS, EACH = 32, 4


def test_no_answer_is_lost_or_mixed(service: Service, encoder: OnnxEncoder) -> None:
    """Half of the clients send pictures, half search with vectors; health is asked all the while."""
    pictures = np.random.default_rng(0).integers(0, 256, (CLIENTS, EACH, 28, 28), dtype=np.uint8)
    expected = linear_vectors(pictures.reshape(-1, 1, 28, 28), 16, InputSpec(), seed=0).reshape(CLIENTS, EACH, 16)
    alone = {
        client: [service.engine.collection.gallery.search(encoder.encode(one), 3)[0] for one in pictures[client]]
        for client in range(1, CLIENTS, 2)
    }

    async def one(client: int, ask: AsyncClient) -> None:
        for turn, picture in enumerate(pictures[client]):
            if client % 2:
                [hits] = await ask.search(encoder.encode(picture), k=3)
                assert [hit.key for hit in hits] == [hit.key for hit in alone[client][turn]]
            else:
                found = await ask.encode(picture)
                assert np.allclose(found.vectors[0], expected[client, turn], atol=2e-6)

    async def healthy(http: httpx.AsyncClient) -> None:
        while True:
            assert (await http.get("/v2/health/ready")).status_code == 200

    async def run() -> None:
        limits = httpx.Limits(max_connections=CLIENTS + 1)
        async with httpx.AsyncClient(base_url=service.url, limits=limits, timeout=60) as http:
            probe = asyncio.ensure_future(healthy(http))
            await asyncio.gather(*(one(client, AsyncClient(service.url, http=http)) for client in range(CLIENTS)))
            assert not probe.done()
            probe.cancel()

    asyncio.run(run())
    service.until(0)
