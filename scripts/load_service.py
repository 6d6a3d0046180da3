"""Many clients at once against a running service; every answer is compared with its own request.

    hetsearch serve --encoder zoo/fashion-mnist/query-encoder --gallery gallery --log-level warning &
    python scripts/load_service.py http://127.0.0.1:8000 --encoder zoo/fashion-mnist/query-encoder --clients 256

Half of the clients embed pictures, which are embedded here as well; half search with vectors whose hits were asked for
before, one by one. Health is asked all the while. 503 is an answer: it is counted, and asked again.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from http_load import LOST, Connection, post, spread
from PIL import Image

from hetsearch.runtime import OnnxEncoder, load_encoder

PICTURES = 200
SEED = 20261122
TOLERANCE = 1e-4  # of a vector's numbers: a batch is summed in another order than one alone


@dataclass
class Seen:
    """What the clients met."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Question:
    """A request, and what its answer must be: a vector, or keys."""

    request: bytes
    vector: np.ndarray | None = None
    keys: tuple[str, ...] = ()

    def wrong_about(self, document: dict[str, Any]) -> str | None:
        """How an answer differs; None where it is the right one."""
        if self.vector is None:
            found = tuple(hit["key"] for hit in document["hits"])
            return None if found == self.keys else f"{found} instead of {self.keys}"
        found = np.array(document["data"][0]["embedding"])
        apart = float(np.abs(found - self.vector).max())
        return None if apart < TOLERANCE else f"a vector that is {apart:.3f} apart"


def questions(url: str, http: httpx.Client, encoder: OnnxEncoder) -> list[Question]:
    """Pictures to embed, and vectors to search with."""
    size = encoder.input.size
    pixels = np.random.default_rng(SEED).integers(0, 256, (PICTURES, size, size), dtype=np.uint8)
    made = []
    for picture, vector in zip(pixels, encoder.encode(pixels).vectors, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        made.append(Question(post(url, "/v1/embeddings", {"input": uri}), vector=vector))
        body = {"vector": vector.tolist(), "space": encoder.space, "k": 5}
        hits = http.post("/v1/search", json=body).raise_for_status().json()["hits"]
        made.append(Question(post(url, "/v1/search", body), keys=tuple(hit["key"] for hit in hits)))
    return made


async def client(url: str, number: int, asked: list[Question], seen: Seen, end: float) -> None:
    """One client: asks one thing after the other until the end."""
    chosen = np.random.default_rng((SEED, number))
    mine = [question for question in asked if (question.vector is None) == bool(number % 2)]
    connection = Connection(url)
    while time.perf_counter() < end:
        question = mine[int(chosen.integers(len(mine)))]
        begin = time.perf_counter()
        try:
            answer = await connection.ask(question.request)
        except LOST as error:
            seen.answers["lost"] += 1
            seen.wrong.append(f"no answer: {error!r}")
            continue
        seen.answers[str(answer.status)] += 1
        if answer.status == 503:
            await asyncio.sleep(float(answer.headers["retry-after"]))
        elif answer.status != 200:
            seen.wrong.append(answer.body[:200].decode(errors="replace"))
        else:
            seen.seconds.append(time.perf_counter() - begin)
            if (reason := question.wrong_about(json.loads(answer.body))) is not None:
                seen.wrong.append(reason)
    connection.close()


def probe(url: str, seconds: float) -> list[float]:
    """Ask for health ten times a second; how long each answer took."""
    took = []
    end = time.perf_counter() + seconds
    with httpx.Client(base_url=url, timeout=60) as http:
        while time.perf_counter() < end:
            begin = time.perf_counter()
            http.get("/v2/health/ready").raise_for_status()
            took.append(time.perf_counter() - begin)
            time.sleep(0.1)
    return took


async def load(url: str, asked: list[Question], clients: int, seconds: float) -> Seen:
    """Let the clients ask for so many seconds."""
    seen = Seen()
    end = time.perf_counter() + seconds
    await asyncio.gather(*(client(url, number, asked, seen, end) for number in range(clients)))
    return seen


def main() -> int:
    """Load the service, and say what was found; 1 if an answer was lost or wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--encoder", required=True, help="the bundle that the service has")
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=120)
    given = parser.parse_args()
    with httpx.Client(base_url=given.url, timeout=60) as http:
        asked = questions(given.url, http, load_encoder(given.encoder))
    with ProcessPoolExecutor(1) as other:  # in this process it would wait for the clients as well
        health = other.submit(probe, given.url, given.seconds)
        seen = asyncio.run(load(given.url, asked, given.clients, given.seconds))
    answers = f"answers {dict(seen.answers)}, {len(seen.wrong)} wrong or lost"
    print(f"{given.clients} clients, {given.seconds:.0f} s: {answers}")
    print(f"requests: {len(seen.seconds) / given.seconds:.0f} a second, {spread(seen.seconds)}")
    print(f"health:   {spread(health.result())}")
    for reason in seen.wrong[:10]:
        print(f"WRONG {reason}")
    return int(bool(seen.wrong))


if __name__ == "__main__":
    sys.exit(main())
