"""Peak memory of a gallery job: of ``embed`` by the number of keys, of ``build`` by the size of the index.

    python scripts/bench_memory.py                                  # about half an hour; writes results/memory.*
    python scripts/bench_memory.py --keys 10000,100000 --factories "Flat;SQ8" --results DIR

1,000 real pictures are written as PNG files; a Parquet manifest of 10 thousand, 100 thousand and 1 million keys names
them over and over. Each job is ``hetsearch index build`` in a process of its own, with one worker that decodes. Its
peak is VmHWM of /proc: of the job up to the moment at which all is embedded, with that of its worker added (pages that
both share count twice); then, set back, up to its end. The other factories are built from the same shards.

Asked for: ``embed`` grows by less than 10 % from the fewest to the most keys; ``build`` takes at most 1.3 times the
index's bytes plus a constant, which is the slope between the fewest and the most keys.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tables import Row, Table, markdown, run

from hetsearch.data.sources import open_source
from hetsearch.files import read_json, write_json, write_text
from hetsearch.gallery.embedding.shards import shard_name
from hetsearch.gallery.jobs import build as stage
from hetsearch.preprocess import open_image

SOURCE = "fashion-mnist:test"
PICTURES = 1000
GROWTH, SLOPE = 0.10, 1.3
STATUS = "/proc/{pid}/status"


def main() -> None:
    """Measure what is missing, and write the words."""
    options = _options()
    if options.child:
        _child(options)
        return
    command = "python scripts/bench_memory.py"
    table = Table(options.results / "memory.json", options.results, command)
    keys = sorted(int(count) for count in options.keys.split(","))
    with tempfile.TemporaryDirectory(dir=options.work) as temporary:
        work = Path(temporary)
        _make_pictures(work)
        for count in keys:
            _measure(table, options, work, count, options.factories.split(";"))
    write_text(options.results / "memory.md", "\n".join(_words(table, keys)) + "\n")


def _measure(table: Table, options: argparse.Namespace, work: Path, count: int, factories: list[str]) -> None:
    """The rows of one number of keys; the shards are embedded once."""
    missing = [factory for factory in factories if not table.has(factory, f"{count} keys", 0)]
    embedded = None
    for factory in missing:
        out = work / f"gallery-{count}-{factory.replace(',', '-')}"
        if embedded:
            _take_shards(embedded, out)
        found = _job(options, _manifest(work, count), out, factory, options.encoder)
        if embedded:
            del found["embed"], found["worker"]  # nothing was embedded
        table.note(factory, f"{count} keys", 0, metrics=found, ci=None)
        sys.stderr.write(f"{count:,} keys, {factory}: {found}\n")
        if embedded:
            shutil.rmtree(out)
        embedded = embedded or out
    if embedded:
        shutil.rmtree(embedded)


def _job(options: argparse.Namespace, manifest: Path, out: Path, factory: str, encoder: Path) -> dict[str, float]:
    """Peaks in bytes of one job, and the bytes of its index."""
    told = out.with_suffix(".json")
    words = ["--child", out, "--images", manifest, "--encoder", encoder, "--factories", factory, "--told", told]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    worker = 0
    with subprocess.Popen([sys.executable, __file__, *map(str, words)], env=environment) as child:
        while child.poll() is None:
            worker = max(worker, sum(_read(pid, "VmHWM") for pid in _children(child.pid)))
            time.sleep(0.2)
    if child.returncode:
        raise SystemExit(f"the job of '{out}' ended with {child.returncode}")
    marks = read_json(told, what="the peaks of a job")
    index = next(out.glob("index*.faiss")).stat().st_size
    return {"embed": marks["embed"], "worker": worker, "before": marks["before"], "build": marks["build"],
            "index": index, "seconds": marks["seconds"]}  # fmt: skip


def _child(options: argparse.Namespace) -> None:
    from hetsearch.cli.index import build

    marks: dict[str, float] = {}
    write = stage.write_generation

    def measured(*arguments: Any, **more: Any) -> Any:
        marks["embed"], marks["before"] = _read(os.getpid(), "VmHWM"), _read(os.getpid(), "VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
        card = write(*arguments, **more)
        marks["build"] = _read(os.getpid(), "VmHWM")
        return card

    stage.write_generation = measured
    begin = time.perf_counter()
    build(encoder=options.encoder, images=str(options.images), out=options.child, factory=options.factories,
          workers=1, threads=1, json=True)  # fmt: skip
    write_json(options.told, {**marks, "seconds": time.perf_counter() - begin})


def _make_pictures(work: Path) -> None:
    images = open_source(SOURCE)
    (work / "pictures").mkdir()
    for row in range(PICTURES):
        picture: Image.Image = open_image(images.read(row))
        picture.save(work / "pictures" / f"{row:04d}.png")


def _manifest(work: Path, count: int) -> Path:
    path = work / f"{count}.parquet"
    if not path.exists():
        columns = {
            "key": [f"shop/2026/item-{row:09d}" for row in range(count)],
            "path": [f"pictures/{row * 7919 % PICTURES:04d}.png" for row in range(count)],
            "label": [f"class {row % 10}" for row in range(count)],
        }
        pq.write_table(pa.table(columns), path)
    return path


def _take_shards(embedded: Path, out: Path) -> None:
    """The folder of a job that was killed when all was embedded."""
    (out / "embeddings").mkdir(parents=True)
    shutil.copy(embedded / "embeddings" / "manifest.json", out / "embeddings")
    for number in range(sum(1 for _ in (embedded / "embeddings").glob("shard-*"))):
        os.link(embedded / "embeddings" / shard_name(number), out / "embeddings" / shard_name(number))


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name of a program may hold anything, so the fields are counted from its closing bracket.
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def _read(pid: int, name: str) -> int:
    """A field of /proc/PID/status in bytes; 0 where the process has ended."""
    try:
        lines = Path(STATUS.format(pid=pid)).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def _words(table: Table, keys: list[int]) -> list[str]:
    rows = {(row["name"], row["data"]): row for row in table.rows}
    few, many = f"{keys[0]} keys", f"{keys[-1]} keys"
    embeds = [row for row in table.rows if "embed" in row["metrics"]]
    peaks = {row["data"]: row["metrics"]["embed"] + row["metrics"]["worker"] for row in embeds}
    growth = peaks[many] / peaks[few] - 1
    lines = [
        "# Peak memory of a gallery job",
        "",
        f"`{table.command}`, {PICTURES:,} pictures of {SOURCE} under as many keys as the table says, "
        f"{embeds[0]['machine']}. MB are 10⁶ bytes.",
        "",
        f"`embed` grows by {growth:.1%} from {keys[0]:,} to {keys[-1]:,} keys (asked for: less than {GROWTH:.0%}).",
        "",
        *markdown(
            ["keys", "job, MB", "worker, MB", "both, MB", "seconds"],
            [
                [f"{int(row['data'].split()[0]):,}", *(_mb(row["metrics"][name]) for name in ("embed", "worker")),
                 _mb(peaks[row["data"]]), f"{row['metrics']['seconds']:,.0f}"] for row in embeds
            ],
        ),
        "",
        f"`build`, peak by the bytes of the index; the slope is between {keys[0]:,} and {keys[-1]:,} keys (asked for: "
        f"at most {SLOPE}).",
        "",
    ]  # fmt: skip
    names = list(dict.fromkeys(row["name"] for row in table.rows))
    cells = [_slope(rows[name, few], rows[name, many]) for name in names if {(name, few), (name, many)} <= rows.keys()]
    header = ["factory", f"index of {keys[-1]:,}, MB", f"peak with {keys[0]:,}, MB", f"with {keys[-1]:,}, MB", "slope"]
    return lines + markdown(header, cells)


def _slope(few: Row, many: Row) -> list[str]:
    first, last = few["metrics"], many["metrics"]
    slope = (last["build"] - first["build"]) / max(last["index"] - first["index"], 1)
    return [many["name"], _mb(last["index"]), _mb(first["build"]), _mb(last["build"]), f"{slope:.2f}"]


def _mb(count: float) -> str:
    return f"{count / 1e6:,.1f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--keys", default="10000,100000,1000000", help="numbers of keys, with commas")
    parser.add_argument("--factories", default="Flat;SQ8;IVF256,SQ8", help="kinds of index, with semicolons")
    parser.add_argument("--encoder", type=Path, default=Path("zoo/fashion-mnist/query-encoder"), help="a small bundle")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of memory.json and memory.md")
    parser.add_argument("--work", type=Path, help="folder for pictures and galleries; default: a temporary one")
    for name in ("child", "images", "told"):
        parser.add_argument(f"--{name}", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
