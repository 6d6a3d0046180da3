"""How soon the light side is there, how much memory it takes, and how much room on the disk.

    python scripts/bench_cold_start.py                                     # a minute; writes results/cold-start.*
    python scripts/bench_cold_start.py --gallery gallery --install         # the service too, and fresh environments
    python scripts/bench_cold_start.py --rounds 3 --results DIR --json

Each row is many processes, one after the other and in turns: seconds from the start of the process to the end of each
step, and its peak memory. torch and timm stand for a light side that is not light: the same network from its float32
weights. With --gallery, ``hetsearch serve`` from its start to the first vector and the first hits over HTTP. With
--install, ``pip install .`` and ``pip install .[serve]`` into fresh environments, and what lies in them afterwards.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from benches import cell, encoded, machine
from tables import Row, Table, markdown, run

from hetsearch.data.sources import open_source
from hetsearch.errors import HetsearchError
from hetsearch.files import dump_json, write_text

ROOT = Path(__file__).parents[1]
ZOO = ROOT / "zoo" / "fashion-mnist" / "query-encoder"
STEPS = {
    "hetsearch, ONNX Runtime": (
        "import hetsearch; hetsearch.load_encoder",
        "encoder = hetsearch.load_encoder(bundle)",
        "encoder.encode(blob)",
    ),
    "hetsearch, OpenVINO": (
        "import hetsearch, openvino; hetsearch.load_encoder",
        "encoder = hetsearch.load_encoder(bundle, backend='openvino')",
        "encoder.encode(blob)",
    ),
    "the same network, torch": (
        "import torch; from pathlib import Path; from hetsearch.bundle import read_card; "
        "from hetsearch.models.weights import load_network; from hetsearch.preprocess import preprocess",
        "folder = Path(bundle); card = read_card(folder); network = load_network(folder, card)",
        "network(torch.from_numpy(preprocess(blob, card.input)[None])).detach().numpy()",
    ),
}
NAMES = ("import", "load", "first embedding")
CHILD = """
import json, resource, sys, time
bundle, blob, began, *steps = sys.argv[1], bytes.fromhex(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:]
ends, names = [time.time() - began], {"bundle": bundle, "blob": blob}
for step in steps:
    exec(step, names)
    ends.append(time.time() - began)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20)
print(json.dumps({"ends": ends, "peak_mb": peak, "torch": "torch" in sys.modules}))
"""


def main() -> None:
    """Measure, and write rows and words."""
    options = _options()
    more = f"{' --gallery ' + options.gallery.name if options.gallery else ''}{' --install' if options.install else ''}"
    command = f"python scripts/bench_cold_start.py --rounds {options.rounds}{more}"
    table = Table(options.results / "cold-start.json", options.results, command)
    table.drop(lambda row: True)
    blob = encoded(open_source("fashion-mnist:test").read(0), "PNG")
    found: dict[str, list[Row]] = {}
    for number in range(options.rounds + 1):  # the first brings the files into memory
        for name, steps in STEPS.items():
            if (seen := _child(name, steps, blob)) is not None and number:
                found.setdefault(name, []).append(seen)
        if options.gallery:
            seen = _service(options.gallery, blob)
            if number:
                found.setdefault("hetsearch serve", []).append(seen)
    for name, rounds in found.items():
        metrics = {key: statistics.median(row[key] for row in rounds) for key in rounds[0]}
        ci = {key: [min(row[key] for row in rounds), max(row[key] for row in rounds)] for key in rounds[0]}
        table.note(name, "cold start", 0, metrics=metrics, ci=ci, load=machine())
    for extra in ("", "[serve]") if options.install else ():
        table.note(f"pip install .{extra}", "install", 0, metrics=_installed(extra), ci={}, load=machine())
    write_text(options.results / "cold-start.md", "\n".join(told(table.rows)) + "\n")
    sys.stdout.write(dump_json(table.rows) if options.json else "\n".join(told(table.rows)) + "\n")


def _child(name: str, steps: tuple[str, ...], blob: bytes) -> Row | None:
    command = [sys.executable, "-c", CHILD, str(ZOO), blob.hex(), str(time.time()), *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in done.stderr or "MissingExtra" in done.stderr:
        sys.stderr.write(f"{name}: left out, {done.stderr.splitlines()[-1]}\n")
        return None
    if done.returncode:
        raise HetsearchError(f"{name} fails", observed=done.stderr[-300:])
    told = json.loads(done.stdout)
    start, *ends = told["ends"]
    parts = {key: 1e3 * (end - before) for key, end, before in zip(NAMES, ends, (start, *ends), strict=False)}
    return {"python": 1e3 * start, **parts, "total": 1e3 * ends[-1], "peak_mb": told["peak_mb"]}


def _service(gallery: Path, blob: bytes) -> Row:
    """From the start of the process to what it answers first, and its memory then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--encoder", str(ZOO), "--gallery", str(gallery), "--port", str(port), "--log-level", "warning"]
    begin, seen = time.perf_counter(), Row()
    process = subprocess.Popen([sys.executable, "-m", "hetsearch", "serve", *words])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            while not _ready(http):
                if process.poll() is not None:
                    raise HetsearchError("hetsearch serve does not start", observed=f"exit code {process.returncode}")
                time.sleep(0.005)
            seen["ready"] = 1e3 * (time.perf_counter() - begin)
            uri = f"data:image/png;base64,{base64.b64encode(blob).decode()}"
            http.post("/v1/embeddings", json={"input": uri}).raise_for_status()
            seen["first embedding"] = 1e3 * (time.perf_counter() - begin)
            for _ in range(100):
                http.post("/v1/search", json={"image": uri}).raise_for_status()
        status = Path(f"/proc/{process.pid}/status")
        text = status.read_text() if status.is_file() else "VmRSS: 0 VmHWM: 0"
        for key, name in (("resident_mb", "VmRSS"), ("peak_mb", "VmHWM")):
            seen[key] = int(text.split(f"{name}:")[1].split()[0]) / 1024
        return seen
    finally:
        process.terminate()
        process.wait()


def _ready(http: httpx.Client) -> bool:
    try:
        return http.get("/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _installed(extra: str) -> Row:
    """Megabytes of a fresh environment, without pip and what it brings, and whether torch is there."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        empty = _size(Path(folder))
        python = Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python"
        install = [str(python), "-m", "pip", "install", "--quiet", f"{ROOT}{extra}"]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            raise HetsearchError(f"'pip install .{extra}' fails", observed=done.stderr[-300:])
        listed = subprocess.run([str(python), "-m", "pip", "list", "--format=json"], capture_output=True, check=True)
        names = {package["name"] for package in json.loads(listed.stdout)}
        return {"mb": _size(Path(folder)) - empty, "packages": len(names), "torch": "torch" in names}


def _size(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def told(rows: list[Row]) -> list[str]:
    """The tables in words."""
    first = rows[0]
    lines = ["# Cold start, memory and room", "", f"`{first['command']}`, commit {first['commit']}, {first['load']}."]
    lines += ["Milliseconds, medians over processes in turns, in brackets smallest and largest.", ""]
    some = [row for row in rows if "total" in row["metrics"]]
    header = ("", "python", *NAMES, "together", "peak memory, MB")
    cells = [
        [row["name"], *(_spread(row, key) for key in ("python", *NAMES, "total", "peak_mb"))] for row in some
    ]
    lines += markdown(header, cells)
    for row in rows:
        if "ready" in row["metrics"]:
            soon = f"ready after {_spread(row, 'ready')} ms, first embedding after {_spread(row, 'first embedding')} ms"
            held = f"resident after 100 searches: {_spread(row, 'resident_mb')} MB"
            lines += ["", f"`hetsearch serve` with its gallery, over HTTP: {soon}; {held}."]
    for row in rows:
        if row["data"] == "install":
            torch = "with" if row["metrics"]["torch"] else "no"
            lines += ["", f"`{row['name']}`: {row['metrics']['mb']:.0f} MB in a fresh environment, {torch} torch."]
    return lines


def _spread(row: Row, key: str) -> str:
    return cell([row["metrics"][key], *row["ci"][key]], 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=Path, help="a gallery of the query encoder's space, to be served")
    parser.add_argument("--install", action="store_true", help="measure two fresh environments; needs a package index")
    parser.add_argument("--rounds", type=int, default=7, help="processes of each kind")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of cold-start.json and .md")
    parser.add_argument("--json", action="store_true", help="print the rows")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
