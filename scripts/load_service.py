"""Many clients at once against a running service; every answer is compared with its own request.

    hetsearch serve --encoder zoo/fashion-mnist/query-encoder --gallery gallery --log-level warning &
    python scripts/load_service.py http://127.0.0.1:8000 --encoder zoo/fashion-mnist/query-encoder --clients 256

Half of the clients embed pictures, which are embedded here as well; half search with vectors whose hits were asked for
before, one by one. Health is asked all the while. 503 is an answer: it is counted, and asked again.

    python scripts/load_service.py --sigterm --encoder zoo/fashion-mnist/query-encoder --gallery gallery --clients 64

starts a service of its own and ends it with SIGTERM in the middle of that. Every request that was sent before the
signal, and every one that the service's log knows, must have its right answer; what is sent later may find nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
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


@dataclass
class Ending:
    """What happened to requests around SIGTERM; each has a name, which the service's log has too."""

    signalled: float = 0.0
    sent: dict[str, float] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    logged: set[str] = field(default_factory=set)
    code: int | None = None
    seconds: float = 0.0

    @property
    def before(self) -> set[str]:
        """Those that were sent before the signal."""
        return {name for name, moment in self.sent.items() if moment < self.signalled}

    @property
    def lost(self) -> set[str]:
        """Those that were accepted, by the clock or by the log, and have no answer."""
        return (self.before | self.logged) - self.answered

    def told(self) -> str:
        """In words."""
        later = set(self.sent) - self.before
        return (
            f"{len(self.before):,} requests were sent before SIGTERM, {len(self.before & self.answered):,} of them "
            f"answered; {len(later):,} after it, {len(later & self.answered):,} of them answered; the log has "
            f"{len(self.logged):,}; {len(self.lost)} lost, {len(self.wrong)} wrong; exit code {self.code} after "
            f"{self.seconds:.1f} s"
        )


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
        vector = np.array(document["data"][0]["embedding"])
        apart = float(np.abs(vector - self.vector).max())
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


async def last_client(url: str, number: int, asked: list[Question], seen: Ending) -> None:
    """One client that goes on until nobody answers."""
    chosen = np.random.default_rng((SEED, number))
    connection = Connection(url)
    for turn in count():
        question, name = asked[int(chosen.integers(len(asked)))], f"{number}.{turn}"
        request = question.request.replace(b"\r\n", f"\r\nX-Request-ID: {name}\r\n".encode(), 1)
        seen.sent[name] = time.perf_counter()
        try:
            answer = await connection.ask(request)
        except LOST:
            return
        seen.answered.add(name)
        if answer.status == 503:
            await asyncio.sleep(float(answer.headers["retry-after"]))
        elif answer.status != 200:
            seen.wrong.append(answer.body[:200].decode(errors="replace"))
        elif (reason := question.wrong_about(json.loads(answer.body))) is not None:
            seen.wrong.append(reason)


@contextmanager
def own_service(encoder: str, gallery: str) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """A service of our own: its process, its address, and the file of its log."""
    words = ["serve", "--encoder", encoder, "--gallery", gallery, "--port", "0"]
    with tempfile.NamedTemporaryFile() as file:
        process, log = subprocess.Popen([sys.executable, "-m", "hetsearch", *words], stderr=file), Path(file.name)
        try:
            while not (ready := [line["url"] for line in lines_of(log) if line["event"] == "ready"]):
                if process.poll() is not None:
                    raise SystemExit(f"the service does not start: {log.read_text()}")
                time.sleep(0.05)
            yield process, ready[0], log
        finally:
            process.kill()
            process.wait()


def lines_of(log: Path) -> list[dict[str, Any]]:
    """The whole lines of a log."""
    return [json.loads(line) for line in log.read_bytes().splitlines(keepends=True) if line.endswith(b"}\n")]


def sigterm(encoder: str, gallery: str, clients: int, seconds: float) -> Ending:
    """Load a service of our own, end it with SIGTERM, and see what became of each request."""
    seen = Ending()
    with own_service(encoder, gallery) as (process, url, log):
        with httpx.Client(base_url=url, timeout=60) as http:
            asked = questions(url, http, load_encoder(encoder))

        async def end() -> None:
            await asyncio.sleep(seconds)
            process.send_signal(signal.SIGTERM)
            seen.signalled = time.perf_counter()

        async def run() -> None:
            await asyncio.gather(end(), *(last_client(url, number, asked, seen) for number in range(clients)))

        asyncio.run(run())
        seen.code = process.wait(60)
        seen.seconds = time.perf_counter() - seen.signalled
        seen.logged = set(seen.sent).intersection(line.get("request_id") for line in lines_of(log))
    return seen


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
    parser.add_argument("url", nargs="?", help="of the service; none with --sigterm")
    parser.add_argument("--sigterm", action="store_true", help="start a service, and end it under this load")
    parser.add_argument("--gallery", help="what the service of --sigterm searches")
    parser.add_argument("--encoder", required=True, help="the bundle that the service has")
    parser.add_argument("--clients", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=120)
    given = parser.parse_args()
    if given.sigterm:
        if given.url or not given.gallery:
            parser.error("--sigterm starts its own service: give a --gallery, and no address")
        ended = sigterm(given.encoder, given.gallery, given.clients, given.seconds)
        print(f"{given.clients} clients, {given.seconds:g} s: {ended.told()}")
        for reason in [*sorted(ended.lost)[:10], *ended.wrong[:10]]:
            print(f"WRONG {reason}")
        return int(bool(ended.lost or ended.wrong or ended.code))
    if not given.url:
        parser.error("the address of a service is missing")
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
