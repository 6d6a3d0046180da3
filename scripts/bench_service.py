"""``hetsearch serve`` against the same network behind LitServe and behind bare FastAPI: requests a second, and waiting.

    pip install litserve                       # a peer; left out, and said so, where it is not installed
    python scripts/bench_service.py            # about three minutes; writes results/service.*
    python scripts/bench_service.py --seconds 1 --rounds 1 --clients 1 8 --results DIR --json

Three services, each in a process of its own, take turns at being asked by this one over loopback, round by round, so
that a busy machine troubles all alike; between its turns a service is stopped. A client asks for the vector of a
28 × 28 PNG, waits for the answer, and asks again; the first answer of each client is compared with the vector. Figures
are medians over the rounds, in brackets smallest and largest. Peak memory is that of all processes of a service at the
end.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import importlib.util
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
from benches import encoded, machine
from http_load import Connection, post
from tables import Row, Table, markdown, run

from hetsearch.data.sources import open_source
from hetsearch.errors import HetsearchError
from hetsearch.files import dump_json, write_text
from hetsearch.runtime import load_encoder

ZOO = Path(__file__).parents[1] / "zoo" / "fashion-mnist" / "query-encoder"
CLIENTS = (1, 8, 64, 256)
PICTURES = 100
TOLERANCE = 1e-4  # of a vector's numbers: a batch is summed in another order than one alone
OURS, FASTAPI, LITSERVE = "hetsearch serve", "FastAPI, no batching", "LitServe"


@dataclass(frozen=True)
class Question:
    """A request as it goes over the wire, and the vector that is right."""

    request: bytes
    vector: np.ndarray


def main() -> None:
    """Measure, and write rows and words."""
    options = _options()
    words = f" --clients {' '.join(map(str, options.clients))}" if tuple(options.clients) != CLIENTS else ""
    command = f"python scripts/bench_service.py --seconds {options.seconds:g} --rounds {options.rounds}{words}"
    table = Table(options.results / "service.json", options.results, command)
    table.drop(lambda row: True)
    source = open_source("fashion-mnist:test")
    pictures = [encoded(source.read(row), "PNG") for row in range(PICTURES)]
    vectors = load_encoder(options.encoder).encode(pictures).vectors
    found: dict[tuple[str, int], list[Row]] = {}
    with services(options.encoder) as started:
        for number in range(options.rounds):
            for clients in options.clients:
                for name, (url, pid) in started.items():
                    asked = [_question(url, *pair) for pair in zip(pictures, vectors, strict=True)]
                    with _its_turn(pid):
                        seen = asyncio.run(load(url, asked, clients, options.seconds))
                    found.setdefault((name, clients), []).append(seen)
                    said = f"{seen['requests_per_s']:.0f} a second, p99 {seen['p99_ms']:.1f} ms"
                    sys.stderr.write(f"round {number + 1}, {clients} clients, {name}: {said}\n")
        memory = {name: _peak(pid) for name, (_, pid) in started.items()}
    for (name, clients), rounds in found.items():
        metrics = {key: statistics.median(row[key] for row in rounds) for key in rounds[0]}
        ci = {key: [min(row[key] for row in rounds), max(row[key] for row in rounds)] for key in rounds[0]}
        table.note(name, f"{clients} clients", 0, metrics={**metrics, "peak_mb": memory[name]}, ci=ci, load=machine())
    write_text(options.results / "service.md", "\n".join(told(table.rows)) + "\n")
    sys.stdout.write(dump_json(table.rows) if options.json else "\n".join(told(table.rows)) + "\n")


@contextmanager
def services(encoder: Path) -> Iterator[dict[str, tuple[str, int]]]:
    """The services that can be had, started and warm: by name the address and the process.

    Raises:
        HetsearchError: one does not answer.
    """
    here = Path(__file__).parent
    commands = {OURS: ["-m", "hetsearch", "serve", "--log-level", "warning"]}
    commands[FASTAPI] = [str(here / "bench_service_fastapi.py")]
    if importlib.util.find_spec("litserve"):
        commands[LITSERVE] = [str(here / "bench_service_litserve.py")]
    else:
        sys.stderr.write("LitServe is not installed here, so it is left out\n")
    running: dict[str, tuple[str, subprocess.Popen[bytes]]] = {}
    try:
        for name, words in commands.items():
            port = _free_port()
            command = [sys.executable, *words, "--encoder", str(encoder), "--port", str(port)]
            running[name] = f"http://127.0.0.1:{port}", subprocess.Popen(command, process_group=0)
        for name, (url, process) in running.items():
            _wait(name, url, process)
        for _, process in running.values():
            os.killpg(process.pid, signal.SIGSTOP)
        yield {name: (url, process.pid) for name, (url, process) in running.items()}
    finally:
        for _, process in running.values():
            process.terminate()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
        for _, process in running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with suppress(ProcessLookupError):  # LitServe's workers outlive it
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def _its_turn(pid: int) -> Iterator[None]:
    """Let one service run. LitServe's processes look for work all the time, so who waits is stopped (POSIX)."""
    os.killpg(pid, signal.SIGCONT)
    try:
        yield
    finally:
        os.killpg(pid, signal.SIGSTOP)


async def load(url: str, asked: list[Question], clients: int, seconds: float) -> Row:
    """What so many clients meet in so many seconds.

    Raises:
        HetsearchError: an answer is not the right one, or no answer.
    """
    took: list[float] = []
    begin = time.perf_counter()

    async def one(number: int) -> None:
        connection, turn = Connection(url), number
        while time.perf_counter() < begin + seconds:
            question = asked[turn % len(asked)]
            sent = time.perf_counter()
            answer = await connection.ask(question.request)
            took.append(time.perf_counter() - sent)
            if answer.status != 200:
                raise HetsearchError(f"{url} does not answer", observed=answer.body[:200].decode(errors="replace"))
            if turn == number:
                vector = np.array(json.loads(answer.body)["data"][0]["embedding"])
                if np.abs(vector - question.vector).max() > TOLERANCE:
                    raise HetsearchError(f"{url} answers with another vector")
            turn += clients
        connection.close()

    await asyncio.gather(*map(one, range(clients)))
    p50, p99 = np.percentile(took, (50, 99)) * 1e3
    return {"requests_per_s": len(took) / (time.perf_counter() - begin), "p50_ms": float(p50), "p99_ms": float(p99)}


def told(rows: list[Row]) -> list[str]:
    """The table in words."""
    first = rows[0]
    lines = [
        "# The service under load", "",
        f"`{first['command']}`, commit {first['commit']}, {first['load']}.",
        "A client asks for the vector of a 28 × 28 PNG, and again when it has it. The clients are one process of the",
        "same machine, which works too. Medians over rounds in turns, in brackets smallest and largest.", "",
    ]  # fmt: skip
    header = ("clients", "server", "requests a second", "p50, ms", "p99, ms", "peak memory, MB")
    cells = []
    for row in rows:
        spread = [_spread(row, key, places) for key, places in (("requests_per_s", 0), ("p50_ms", 1), ("p99_ms", 1))]
        cells.append([row["data"].split()[0], row["name"], *spread, f"{row['metrics']['peak_mb']:.0f}"])
    most = {name: max(row["metrics"]["requests_per_s"] for row in rows if row["name"] == name) for name in _names(rows)}
    said = "; ".join(f"{name} {value:,.0f}" for name, value in most.items())
    return [*lines, *markdown(header, cells), "", f"At most, requests a second: {said}."]


def _names(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(row["name"] for row in rows))


def _spread(row: Row, key: str, places: int) -> str:
    low, high = row["ci"][key]
    return f"{row['metrics'][key]:,.{places}f} ({low:,.{places}f} to {high:,.{places}f})"


def _question(url: str, picture: bytes, vector: np.ndarray) -> Question:
    uri = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return Question(post(url, "/v1/embeddings", {"input": uri}), vector)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(name: str, url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise HetsearchError(f"{name} does not start", observed=f"exit code {process.poll()}")


def _peak(pid: int) -> float:
    """Peak memory of a process and its children, MB (Linux; NaN elsewhere)."""
    if not Path("/proc").is_dir():
        return float("nan")
    parents = {int(path.parent.name): _field(path, "PPid") for path in Path("/proc").glob("[0-9]*/status")}
    family = {pid}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(_field(Path(f"/proc/{one}/status"), "VmHWM") for one in family) / 1024


def _field(path: Path, name: str) -> int:
    try:
        return int(path.read_text().split(f"{name}:")[1].split()[0])
    except (OSError, IndexError):  # it has ended meanwhile, or has no memory of its own
        return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, default=ZOO, help="the bundle that all serve")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS, help="numbers of clients")
    parser.add_argument("--seconds", type=float, default=4.0, help="of one load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of service.json and service.md")
    parser.add_argument("--json", action="store_true", help="print the rows")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run(main)
