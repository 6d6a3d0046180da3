"""How much of the bare network's speed is left in a gallery job, and in clip-retrieval's: images a second.

    python scripts/bench_embed.py                                    # ours alone; writes results/embed.*
    python scripts/bench_embed.py --peer PEER/bin/python             # with clip-retrieval, see bench_embed_peer.py
    python scripts/bench_embed.py --images 2000 --rounds 3 --results DIR

Three ways embed the same PNG files with the same network (default: the released gallery encoder, ResNet50V2) in ONNX
Runtime with as many threads and images a batch: a bare loop over tensors that lie in memory; the embedding stage of
``hetsearch index build``, from listing the files to its last shard on the disk, decoding in one worker process; and
clip-retrieval's reader, runner and writer, likewise with one worker. They take turns, round by round, so that a busy
machine troubles all alike; figures are medians over the rounds, in brackets smallest and largest.

Asked for: the job keeps at least 95 % of the bare loop.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort
from tables import Row, Table, markdown, run

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import load_pixels
from hetsearch.data.sources import open_source
from hetsearch.files import write_text
from hetsearch.gallery import build_gallery
from hetsearch.gallery.jobs import build as stage
from hetsearch.gallery.jobs.plan import BATCH
from hetsearch.preprocess import open_image
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.runtime.threads import available_threads

SOURCE = "fashion-mnist:test"
KEPT = 0.95
BARE, OURS, PEER = "bare loop", "hetsearch index build", "clip-retrieval 2.45.0"


def main() -> None:
    """Measure, and write rows and words."""
    options = _options()
    table = Table(options.results / "embed.json", options.results, f"python scripts/bench_embed.py{_said(options)}")
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        images = _files(work / "pictures", options.images)
        encoder = load_encoder(options.encoder, threads=options.threads)
        pixels = load_pixels(images, encoder.input)
        ways: dict[str, Callable[[Path], float]] = {
            BARE: lambda out: _bare(encoder, pixels),
            OURS: lambda out: _ours(encoder, images, out),
        }
        if options.peer:
            ways[PEER] = lambda out: _peer(options, work / "pictures", out)
        encoder.encode_pixels(pixels[:BATCH])  # the first call of an encoder sets it up
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(options.rounds):
            for name, way in ways.items():
                out = work / f"{number}-{len(speeds[name])}-{name.split()[0]}"
                speeds[name].append(len(images) / way(out))
                sys.stderr.write(f"round {number + 1}, {name}: {speeds[name][-1]:.1f} images/s\n")
    _note(table, options, speeds)
    write_text(options.results / "embed.md", "\n".join(_words(table)) + "\n")


def _files(folder: Path, count: int) -> ImageSet:
    source = open_source(SOURCE)
    folder.mkdir()
    for row in range(count):
        open_image(source.read(row % len(source))).save(folder / f"{row:05d}.png")
    return open_source(str(folder))


def _bare(encoder: OnnxEncoder, pixels: Any) -> float:
    begin = time.perf_counter()
    for start in range(0, len(pixels), BATCH):
        encoder.encode_pixels(pixels[start : start + BATCH])
    return time.perf_counter() - begin


def _ours(encoder: OnnxEncoder, images: ImageSet, out: Path) -> float:
    """Seconds from the start of the job to its last shard; building the index comes after that."""
    write, ends = stage.write_generation, []

    def measured(*arguments: Any, **more: Any) -> Any:
        ends.append(time.perf_counter())
        return write(*arguments, **more)

    stage.write_generation = measured
    try:
        begin = time.perf_counter()
        listed = open_source(images.name)
        build_gallery(encoder, listed, out, workers=1, progress=False)
    finally:
        stage.write_generation = write
    return ends[0] - begin


def _peer(options: argparse.Namespace, folder: Path, out: Path) -> float:
    words = {"encoder": options.encoder, "images": folder, "out": out, "threads": options.threads, "workers": 1,
             "batch": BATCH}  # fmt: skip
    flags = [word for name, value in words.items() for word in (f"--{name}", str(value))]
    command = [str(options.peer), str(Path(__file__).with_name("bench_embed_peer.py")), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"clip-retrieval ended with {done.returncode}: {done.stderr[-500:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    if told["rows"] != options.images:
        raise SystemExit(f"clip-retrieval wrote {told['rows']} vectors of {options.images} images")
    if told["onnxruntime"] != ort.__version__:
        raise SystemExit(f"clip-retrieval ran in ONNX Runtime {told['onnxruntime']}, ours in {ort.__version__}")
    return float(told["seconds"])


def _note(table: Table, options: argparse.Namespace, speeds: dict[str, list[float]]) -> None:
    """A row for each way, in place of an older one of the same."""
    data = f"{options.images} PNG files of {SOURCE}"
    table.drop(lambda row: row["data"] == data)
    for name, found in speeds.items():
        shares = [mine / bare for mine, bare in zip(found, speeds[BARE], strict=True)]
        metrics = {"images_per_second": statistics.median(found), "of_bare": statistics.median(shares)}
        ci = {"images_per_second": [min(found), max(found)], "of_bare": [min(shares), max(shares)]}
        table.note(
            name, data, 0, metrics=metrics, ci=ci, rounds=options.rounds, threads=options.threads, batch=BATCH,
            encoder=options.encoder.name, onnxruntime=ort.__version__,
        )  # fmt: skip


def _words(table: Table) -> list[str]:
    first = table.rows[0]
    lines = [
        "# Embedding speed of a gallery job",
        "",
        f"`{first['command']}`, {first['machine']}, ONNX Runtime {first['onnxruntime']}, {first['encoder']}, "
        f"{first['threads']} threads, {first['batch']} images a batch, {first['rounds']} rounds in turns: medians, in "
        "brackets smallest and largest. Image files to vectors on the disk; the bare loop has tensors in memory and "
        f"writes nothing. Asked for: the job keeps at least {KEPT:.0%} of the bare loop.",
        "",
        *markdown(
            ["data", "way", "images/s", "of the bare loop"],
            [[row["data"], row["name"], _cell(row, "images_per_second", ".1f"), _cell(row, "of_bare", ".1%")]
             for row in table.rows],
        ),
    ]  # fmt: skip
    if not any(row["name"] == PEER for row in table.rows):
        lines += ["", f"{PEER} was not run: no --peer was given."]
    return lines


def _cell(row: Row, metric: str, form: str) -> str:
    low, high = row["ci"][metric]
    return f"{row['metrics'][metric]:{form}} ({low:{form}} to {high:{form}})"


def _said(options: argparse.Namespace) -> str:
    words = [f"--images {options.images}", f"--rounds {options.rounds}", f"--threads {options.threads}"]
    return " ".join(["", *words, *(["--peer PEER/bin/python"] if options.peer else [])])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--encoder", type=Path, default=Path("zoo/fashion-mnist/gallery-encoder"), help="bundle")
    parser.add_argument("--images", type=int, default=4000, help="files")
    parser.add_argument("--rounds", type=int, default=5, help="how often each way is run")
    parser.add_argument("--threads", type=int, default=available_threads(), help="of the network")
    parser.add_argument("--peer", type=Path, help="Python of the environment that clip-retrieval is in")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of embed.json and embed.md")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
