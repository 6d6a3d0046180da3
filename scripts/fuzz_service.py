"""Send a running service what nobody should send: bodies of every path, broken in every way, by a fixed seed.

    hetsearch serve --encoder zoo/fashion-mnist/query-encoder --gallery gallery --log-level warning &
    python scripts/fuzz_service.py http://127.0.0.1:8000 --count 10000 --pid $!

No answer may be a 5xx but 503, every refusal has the one shape, and the service still answers at the end. With --pid
(Linux) its memory is read after the first tenth and at the end.

A second opinion, from the OpenAPI document, by schemathesis (pip install schemathesis, in an environment of its own):

    schemathesis --config-file scripts/schemathesis.toml run http://127.0.0.1:8000/openapi.json
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

SEED = 20261122
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "TGA", "EPS", "PDF")
JSON = "application/json"
TYPES = (JSON, "application/json; charset=utf-16", "text/plain", "", "multipart/form-data", "image/png", "a/b/c;;;=")
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2.5, 1e308, 10**30, "", "x" * 5000, [], {}, [[]], [None], {"a": 1}, "\x00", "😀", "sp_0",
    "http://127.0.0.1/", "data:,", "data:image/png;base64,", "data:image/png;base64,%%%", float("nan"), float("inf"),
)  # fmt: skip


@dataclass(frozen=True)
class Attempt:
    """One request."""

    method: str
    path: str
    content: bytes
    headers: dict[str, str]


class Fuzz:
    """Makes requests, most of them broken; a few are right, so that what surrounds the broken ones works."""

    def __init__(self, seed: int, model: str, space: str, dim: int, size: int) -> None:
        self.random = random.Random(seed)
        self.pixels = np.random.default_rng(seed)
        self.model, self.space, self.dim, self.size = model, space, dim, size
        self.ways = (
            self.right, self.broken_value, self.broken_json, self.broken_form, self.broken_tensor, self.broken_head,
            self.noise,
        )  # fmt: skip

    def attempts(self, count: int) -> Iterator[Attempt]:
        """So many requests."""
        for _ in range(count):
            yield self.random.choice(self.ways)()

    def path(self) -> str:
        """One that takes a body."""
        return self.random.choice(("/v1/embeddings", "/v1/search", f"/v2/models/{self.model}/infer"))

    def document(self, path: str) -> dict[str, Any]:
        """What a path takes, its picture perhaps broken."""
        if path == "/v1/embeddings":
            pictures = [self.uri() for _ in range(self.random.randint(1, 3))]
            return {"input": pictures if self.random.random() < 0.5 else pictures[0], "encoding_format": "float"}
        if path == "/v1/search":
            if self.random.random() < 0.5:
                return {"image": self.uri(), "k": self.random.randint(1, 20), "filter": {"label": "Bag"}}
            return {"vector": [1.0] + [0.0] * (self.dim - 1), "space": self.space, "k": 3}
        data = [self.random.randrange(256)] * (self.size * self.size)
        shape = [1, 1, self.size, self.size]
        return {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": shape, "data": data}]}

    def right(self) -> Attempt:
        """A request as it should be, but for its picture."""
        path = self.path()
        return Attempt("POST", path, json.dumps(self.document(path)).encode(), {"content-type": JSON})

    def broken_value(self) -> Attempt:
        """One value replaced, somewhere."""
        path = self.path()
        document = self.document(path)
        holder: Any = document
        key: Any = self.random.choice(list(document))
        while isinstance(holder[key], (dict, list)) and holder[key] and self.random.random() < 0.6:
            holder = holder[key]
            key = self.random.choice(list(holder)) if isinstance(holder, dict) else self.random.randrange(len(holder))
        holder[key] = self.random.choice(VALUES)
        if self.random.random() < 0.2:
            document[self.random.choice(("model", "dimensions", "space", "filter", "k", "extra"))] = "?"
        return Attempt("POST", path, json.dumps(document).encode(), {"content-type": JSON})

    def broken_json(self) -> Attempt:
        """Text that is nearly JSON."""
        path = self.path()
        text = bytearray(json.dumps(self.document(path)).encode())
        return Attempt("POST", path, bytes(self.damage(text)), {"content-type": JSON})

    def broken_form(self) -> Attempt:
        """A form, its bytes damaged or its boundary another."""
        fields = {"k": self.random.choice(("3", "x", ""))}
        form = httpx.Request("POST", "http://x", files={"image": ("a.png", self.picture())}, data=fields)
        content = bytearray(form.read())
        kind = form.headers["content-type"]
        if self.random.random() < 0.7:
            content = self.damage(content)
        if self.random.random() < 0.2:
            kind = kind[: self.random.randrange(len(kind))].strip()  # else httpx would refuse to send it
        return Attempt("POST", self.path(), bytes(content), {"content-type": kind})

    def broken_tensor(self) -> Attempt:
        """A binary tensor: its bytes, their number, or where the JSON ends may be wrong."""
        path, blob = f"/v2/models/{self.model}/infer", bytearray(self.random.randbytes(self.size * self.size))
        size = len(blob) if self.random.random() < 0.6 else self.random.choice((*VALUES, 1, 2**63))
        document = self.document(path)
        document["inputs"][0]["parameters"] = {"binary_data_size": size}
        if self.random.random() < 0.9:
            del document["inputs"][0]["data"]
        if self.random.random() < 0.5:
            document["parameters"] = {"binary_data_output": self.random.choice((True, True, False, 1, None))}
        head = json.dumps(document).encode()
        wrong = ("-1", "", "0", "x", "9" * 30, str(len(head) - 1), str(len(head) + 5000))
        length = str(len(head)) if self.random.random() < 0.7 else self.random.choice(wrong)
        tensors = blob if self.random.random() < 0.7 else self.damage(blob)
        return Attempt("POST", path, head + bytes(tensors), {"inference-header-content-length": length})

    def broken_head(self) -> Attempt:
        """Another method, path, or content type."""
        path = self.path()
        method = self.random.choice(("POST", "PUT", "DELETE", "PATCH", "GET", "OPTIONS", "HEAD"))
        tail = self.random.choice(("", "", "/", "/..", "%00", "?x=%ff", "/%2e%2e/%2e%2e/etc/passwd"))
        item = f"/v1/items/{self.random.choice(('%00', '..%2f..', 'test%2F00001', '%ff%fe', 'x' * 3000))}/image?size=-1"
        where = self.random.choice((path + tail, path + tail, item))
        content = json.dumps(self.document(path)).encode()
        return Attempt(method, where, content, {"content-type": self.random.choice(TYPES)})

    def noise(self) -> Attempt:
        """Random bytes."""
        content = self.random.randbytes(self.random.choice((0, 1, 10, 1000, 100_000)))
        return Attempt("POST", self.path(), content, {"content-type": self.random.choice(TYPES)})

    def uri(self) -> str:
        """A data URI."""
        return f"data:image/png;base64,{base64.b64encode(self.picture()).decode()}"

    def picture(self) -> bytes:
        """A picture of some format: whole, damaged, truncated, or one that claims to be huge."""
        if self.random.random() < 0.1:
            return claiming(self.random.choice(((60_000, 60_000), (0, 5), (5_001, 5_000), (2**31 - 1, 1))))
        mode = self.random.choice(("L", "RGB"))
        height, width = self.random.randint(1, 64), self.random.randint(1, 64)
        shape = (height, width) if mode == "L" else (height, width, 3)
        file = io.BytesIO()
        image = Image.fromarray(self.pixels.integers(0, 256, shape, dtype=np.uint8))
        image.save(file, self.random.choice(FORMATS))
        blob = bytearray(file.getvalue())
        return bytes(blob if self.random.random() < 0.3 else self.damage(blob))

    def damage(self, blob: bytearray) -> bytearray:
        """Some bytes changed, doubled, or cut off."""
        way = self.random.randrange(4)
        if way == 0:
            return blob[: self.random.randrange(len(blob) + 1)]
        place = self.random.randrange(max(1, len(blob)))
        if way == 1:
            blob[place : place + 8] = self.random.randbytes(8)
        elif way == 2:
            blob[place:place] = blob[place : place + self.random.randrange(50)]
        else:
            for _ in range(self.random.randint(1, 5)):
                blob[self.random.randrange(len(blob))] ^= 1 << self.random.randrange(8)
        return blob


def claiming(size: tuple[int, int]) -> bytes:
    """A PNG that says it is so large."""
    blob = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    for name, payload in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")):
        blob += struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))
    return blob


def wrong_about(answer: httpx.Response) -> str | None:
    """What an answer must not be; None where it is right."""
    if answer.status_code >= 500 and answer.status_code != 503:
        return f"status {answer.status_code}"
    if answer.status_code >= 400 and answer.request.method != "HEAD":
        try:
            error = answer.json()["error"]
        except (ValueError, KeyError, TypeError):
            return f"{answer.status_code} without the shape of errors: {answer.text[:80]}"
        if set(error) != {"code", "message", "hint"}:
            return f"an error of {sorted(error)}"
        if "/usr/" in answer.text or "/home/" in answer.text or "Traceback" in answer.text:
            return "an answer that tells of the inside"
    return None


def fuzz(http: httpx.Client, count: int, seed: int = SEED) -> tuple[Counter[int], list[tuple[Attempt, str]]]:
    """Send ``count`` requests.

    Returns:
        How many answers had each status, and every request whose answer is wrong, with what is wrong about it.
    """
    [model] = http.get("/v1/models").json()["data"]
    made = Fuzz(seed, model["id"], model["space"], model["dim"], model["input"]["size"])
    statuses: Counter[int] = Counter()
    wrong = []
    for attempt in made.attempts(count):
        answer = http.request(attempt.method, attempt.path, content=attempt.content, headers=attempt.headers)
        statuses[answer.status_code] += 1
        if (reason := wrong_about(answer)) is not None:
            wrong.append((attempt, reason))
    return statuses, wrong


def resident(pid: int) -> float:
    """Megabytes of memory that a process holds (Linux)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def main() -> int:
    """Fuzz, and say what was found; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--pid", type=int, help="of the service, to read its memory")
    given = parser.parse_args()
    begin = time.perf_counter()
    with httpx.Client(base_url=given.url, timeout=60) as http:
        statuses, wrong = fuzz(http, given.count // 10, given.seed)
        early = resident(given.pid) if given.pid else None
        more, still = fuzz(http, given.count - given.count // 10, given.seed + 1)
        alive = http.get("/v2/health/ready").status_code
    seconds = time.perf_counter() - begin
    print(f"{given.count:,} requests in {seconds:.0f} s; statuses {dict(sorted((statuses + more).items()))}")
    if early is not None:
        late = resident(given.pid)
        print(f"memory {early:.1f} MB after {given.count // 10:,}, {late:.1f} MB at the end: {late - early:+.1f} MB")
    for attempt, reason in [*wrong, *still][:20]:
        print(f"WRONG {reason}: {attempt.method} {attempt.path[:80]} {attempt.headers} {attempt.content[:200]!r}")
    print(f"{len(wrong) + len(still)} wrong answers; ready at the end: {alive}")
    return int(bool(wrong or still) or alive != 200)


if __name__ == "__main__":
    sys.exit(main())
