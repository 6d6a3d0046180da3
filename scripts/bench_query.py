"""From the bytes of a picture to its vector on one thread: the released query encoder against others, in one run.

    python scripts/bench_query.py                                # about two minutes; writes results/query.*
    python scripts/bench_query.py --gallery gallery              # and from bytes to hits, step by step
    python scripts/bench_query.py --gallery gallery --only hits  # some seconds; keeps the other rows
    python scripts/bench_query.py --rounds 2 --results DIR --json

The others: the released gallery encoder; timm's MobileNetV3-Small and ResNet18 with random weights (speed does not ask
for trained ones), exported to ONNX as every bundle is, at their usual 224 pixels and at the query encoder's 28; and the
query encoder's own network in torch, eager and compiled. All read the same files with the same preprocessing, on one
thread without spinning, and take turns, round by round. A file is a 28 × 28 PNG of FashionMNIST, or a made 640 × 480
JPEG. The steps from bytes to hits are timed inside the same calls: alone in a loop, each would find in the caches what
the step before it has driven out, and they would not add up.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from benches import cell, encoded, machine, photograph
from tables import Row, Table, markdown, run

from hetsearch.bundle import EncoderCard, read_card, write_card
from hetsearch.data.sources import open_source
from hetsearch.export import export_bundle
from hetsearch.files import dump_json, write_text
from hetsearch.gallery import open_gallery
from hetsearch.models.cost import count_macs, count_params
from hetsearch.models.network import EncoderNetwork, build_network
from hetsearch.models.weights import load_network, save_weights
from hetsearch.preprocess import InputSpec, preprocess
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.runtime.timing import Times, in_turns
from hetsearch.space import Embeddings

ZOO = Path(__file__).parents[1] / "zoo" / "fashion-mnist"
QUERY = "query encoder, ONNX Runtime"
BATCHES = (1, 64)
PARTS = ("vectors", "hits")
HITS = "28 × 28 PNG, to hits"
CALLS = 500  # from bytes to hits in a round
TURN = 0.2  # seconds that each has in a round
PEERS = {
    f"timm {words} at {size}, ONNX Runtime": (name, size)
    for words, name in (("MobileNetV3-Small", "mobilenetv3_small_100"), ("ResNet18", "resnet18"))
    for size in (224, 28)
}


def main() -> None:
    """Measure, and write rows and words."""
    options = _options()
    torch.set_num_threads(1)
    gallery = f" --gallery {options.gallery.name}" if options.gallery else ""
    only = f" --only {' '.join(options.only)}" if len(options.only) < len(PARTS) else ""
    command = f"python scripts/bench_query.py --rounds {options.rounds}{gallery}{only}"
    table = Table(options.results / "query.json", options.results, command)
    table.drop(lambda row: PARTS[row["data"] == HITS] in options.only)
    source = open_source("fashion-mnist:test")
    files = {
        "28 × 28 PNG": [encoded(source.read(row), "PNG") for row in range(max(BATCHES))],
        "640 × 480 JPEG": [encoded(photograph(), "JPEG")] * max(BATCHES),
    }
    if "vectors" in options.only:
        _vectors(table, files, options.rounds)
    if "hits" in options.only and options.gallery:
        for name, times in _steps(options.gallery, files["28 × 28 PNG"][0], options.rounds).items():
            _note(table, name, HITS, times, 1)
    write_text(options.results / "query.md", "\n".join(told(table.rows)) + "\n")
    sys.stdout.write(dump_json(table.rows) if options.json else "\n".join(told(table.rows)) + "\n")


def _vectors(table: Table, files: dict[str, list[bytes]], rounds: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        encoders = _encoders(Path(temporary))
        for kind, blobs in files.items():
            for batch in BATCHES:
                works = {name: _work(encode, blobs[:batch]) for name, encode in encoders.items()}
                for name, times in in_turns(works, rounds=rounds, seconds=TURN).items():
                    _note(table, name, f"{kind}, batch {batch}", times, batch)
                    sys.stderr.write(f"{kind}, batch {batch}, {name}: {np.median(times.clock):.3f} ms\n")


def _encoders(folder: Path) -> dict[str, Callable[[list[bytes]], object]]:
    """Each from a list of files to vectors."""
    query = ZOO / "query-encoder"
    found: dict[str, Callable[[list[bytes]], object]] = {QUERY: load_encoder(query).encode}
    if importlib.util.find_spec("openvino"):
        found["query encoder, OpenVINO"] = load_encoder(query, backend="openvino").encode
    network, spec = load_network(query, read_card(query)), read_card(query).input
    found["query encoder's network, torch eager"] = _in_torch(network, spec)
    found["query encoder's network, torch.compile"] = _in_torch(torch.compile(network, dynamic=False), spec)
    for name, (timm, size) in PEERS.items():
        found[name] = _peer(folder / f"{timm}-{size}", timm, size).encode
    found["gallery encoder, ONNX Runtime"] = load_encoder(ZOO / "gallery-encoder").encode
    return found


def _in_torch(network: Callable[[torch.Tensor], torch.Tensor], spec: InputSpec) -> Callable[[list[bytes]], object]:
    def encode(blobs: list[bytes]) -> object:
        pixels = np.stack([preprocess(blob, spec) for blob in blobs])
        with torch.inference_mode():
            return network(torch.from_numpy(pixels)).numpy()

    return encode


def _peer(folder: Path, timm: str, size: int) -> OnnxEncoder:
    spec = InputSpec(size=size, channels=3, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    arguments = {"name": timm, "pretrained": False}
    torch.manual_seed(0)
    network: EncoderNetwork = build_network("timm", arguments, dim=128, spec=spec)
    folder.mkdir()
    save_weights(network, folder)
    card = EncoderCard(
        role="query", space="sp_none", dim=128, architecture="timm", arguments=arguments, input=spec,
        params=count_params(network), macs=count_macs(network),
    )  # fmt: skip
    write_card(folder, card)
    export_bundle(folder)
    return load_encoder(folder)


def _work(encode: Callable[[list[bytes]], object], blobs: list[bytes]) -> Callable[[], object]:
    return lambda: encode(blobs)


def _steps(folder: Path, blob: bytes, rounds: int) -> dict[str, Times]:
    """From bytes to hits, whole and in its parts."""
    encoder, gallery = load_encoder(ZOO / "query-encoder"), open_gallery(folder)

    def call() -> list[tuple[float, float]]:
        ticks = [_now()]
        pixels = preprocess(blob, encoder.input)
        ticks.append(_now())
        query = Embeddings(encoder.encode_pixels(pixels[None]), encoder.space, ("0",))
        ticks.append(_now())
        list(gallery.search(query, k=10)[0])
        return [*ticks, _now()]

    for _ in range(CALLS):
        call()
    ticks = 1e3 * np.array([[call() for _ in range(CALLS)] for _ in range(rounds)])  # (rounds, calls, 4, 2)
    parts = np.concatenate([ticks[:, :, -1:] - ticks[:, :, :1], np.diff(ticks, axis=2)], axis=2)
    names = (
        "bytes to 10 hits",
        "of it: decode and preprocess",
        "of it: the network",
        f"of it: search {len(gallery):,} items, read 10 hits",
    )
    return {
        name: Times(parts[:, :, place, 0], parts[:, :, place, 1].mean(axis=1)) for place, name in enumerate(names)
    }


def _now() -> tuple[float, float]:
    """By the clock, and what the process has worked."""
    return time.perf_counter(), time.process_time()


def _note(table: Table, name: str, data: str, times: Times, batch: int) -> None:
    clock, rounds = times.clock, times.medians
    p50, p99 = np.quantile(clock, (0.5, 0.99))
    metrics = {
        "p50_ms": float(p50), "p99_ms": float(p99), "cpu_ms": float(np.median(times.cpu)),
        "images_per_s": batch / float(p50) * 1e3, "calls": clock.size,
    }  # fmt: skip
    table.note(name, data, 0, metrics=metrics, ci={"p50_ms": [rounds.min(), rounds.max()]}, load=machine())


def told(rows: list[Row]) -> list[str]:
    """The tables in words."""
    first = rows[0]
    lines = [
        "# From the bytes of a picture to its vector, on one thread", "",
        f"`{first['command']}`, commit {first['commit']}, {first['load']}.",
        "Milliseconds of a call: the median, in brackets the medians of the fastest and the slowest round; p99 over",
        "all calls; and the median of what the processor worked.",
    ]  # fmt: skip
    for data in dict.fromkeys(row["data"] for row in rows):
        some = [row for row in rows if row["data"] == data]
        own = some[0]["metrics"]["p50_ms"]
        cells = [
            [
                row["name"], cell([row["metrics"]["p50_ms"], *row["ci"]["p50_ms"]], 3),
                f"{row['metrics']['p99_ms']:.3f}", f"{row['metrics']['cpu_ms']:.3f}",
                f"{row['metrics']['images_per_s']:,.0f}", f"{row['metrics']['p50_ms'] / own:.2f}",
            ]
            for row in some
        ]  # fmt: skip
        header = ("", "p50, ms", "p99, ms", "work, ms", "images a second", "times the first")
        apart = f"`{some[0]['command']}`, commit {some[0]['commit']}, {some[0]['load']}."
        own_run = [] if some[0]["command"] == first["command"] else [apart, ""]
        lines += ["", f"## {data}", "", *own_run, *markdown(header, cells)]
    return lines


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=Path, help="a gallery of the query encoder's space")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="measure only these anew")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of query.json and query.md")
    parser.add_argument("--json", action="store_true", help="print the rows")
    options = parser.parse_args()
    if options.only == ["hits"] and options.gallery is None:
        parser.error("--only hits needs --gallery")
    return options


if __name__ == "__main__":
    run(main)
