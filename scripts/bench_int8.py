"""int8 beside float32: cosine, M(q,g), bytes and milliseconds in both back-ends, and the gate's decision.

    python scripts/bench_int8.py                                 # a few minutes; writes results/int8.*
    python scripts/bench_int8.py --rounds 10 --results DIR --json

The released query encoder is quantised with 512 training images by ONNX Runtime's tool and, where NNCF is installed, by
OpenVINO's. The gate decides on the validation images, by the rules of hetsearch/evaluation/quantised.py; M(q,g) on the
test images is only told. Nothing in zoo/ is changed: ``hetsearch export --precision int8 …`` does so, by the same gate.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benches import machine
from tables import Row, Table, markdown, run

from hetsearch.bundle import read_card
from hetsearch.data.sources import open_source
from hetsearch.evaluation.quantised import ROUNDS, Change, compare_files, gallery_vectors
from hetsearch.export import QUANTISED, calibration_pixels, export_bundle
from hetsearch.files import dump_json, write_text
from hetsearch.runtime import load_encoder
from hetsearch.runtime.threads import available_threads

ZOO = Path(__file__).parents[1] / "zoo" / "fashion-mnist"
TRAIN, GATE, TEST = "fashion-mnist:train", "fashion-mnist:validation", "fashion-mnist:test"
NEEDS = {"int8": "onnxruntime", "int8-nncf": "nncf"}


def main() -> None:
    """Measure, and write rows and words."""
    options = _options()
    command = f"python scripts/bench_int8.py --rounds {options.rounds}"
    table = Table(options.results / "int8.json", options.results, command)
    table.drop(lambda row: True)
    backends = [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]
    heavy = load_encoder(ZOO / "gallery-encoder", threads=available_threads())
    images = {source: open_source(source) for source in (GATE, TEST)}
    galleries = {source: gallery_vectors(heavy, some) for source, some in images.items()}
    before = ZOO / "query-encoder"
    pixels = calibration_pixels(open_source(TRAIN), read_card(before).input)
    with tempfile.TemporaryDirectory() as temporary:
        for precision in QUANTISED:
            if not importlib.util.find_spec(NEEDS[precision]):
                sys.stderr.write(f"{NEEDS[precision]} is not installed here, so {precision} is left out\n")
                continue
            after = Path(shutil.copytree(before, Path(temporary) / precision))
            export_bundle(after, precision=precision, images=pixels, calibration=pixels)
            gate = compare_files(before, after, images[GATE], galleries[GATE], backends=backends, rounds=options.rounds)
            test = compare_files(before, after, images[TEST], galleries[TEST], backends=())
            found = gate.as_dict()
            table.note(
                precision, "fashion-mnist", 0, gate=found, test=test.as_dict(), space=heavy.space, load=machine(),
                metrics={f"map_{side}": getattr(test.quality["map"], side) for side in ("before", "after")},
                ci={"map_difference": test.quality["map"].ci},
            )  # fmt: skip
    write_text(options.results / "int8.md", "\n".join(told(table.rows)) + "\n")
    sys.stdout.write(dump_json(table.rows) if options.json else "\n".join(told(table.rows)) + "\n")


def told(rows: list[Row]) -> list[str]:
    """The tables in words."""
    first = rows[0]
    lines = [
        "# int8 beside float32", "",
        f"`{first['command']}`, commit {first['commit']}, {first['load']}.",
        "The released query encoder; float32 → int8, in brackets the 95 % interval of the paired difference. Times are",
        "of one thread, by rounds in turns.", "",
    ]  # fmt: skip
    rows_of: dict[str, list[str]] = {}
    for row in rows:
        gate, test = row["gate"], row["test"]
        for side in (gate, test):
            where = side["data"].partition(":")[2]
            cosines = f"{side['mean_cosine']:.5f}, {side['smallest_cosine']:.4f}"
            rows_of.setdefault(f"cosine, mean and smallest, {where}", []).append(cosines)
            for metric in ("map", "p@1"):
                rows_of.setdefault(f"M(q,g) {metric}, {where}", []).append(_change(side["quality"][metric], 4, 5))
        rows_of.setdefault("bytes of model.onnx", []).append("{:,} → {:,}".format(*gate["bytes"]))
        for backend, times in gate["milliseconds"].items():
            for count, change in times.items():
                rows_of.setdefault(f"{backend}, batch {count}, ms", []).append(_change(change, 3, 4))
        for backend, kept in gate["kept"].items():
            why = "yes" if kept else f"no: {'; '.join(gate['reasons'][backend])}"
            rows_of.setdefault(f"kept in {backend}", []).append(why)
    cells = [[name, *values] for name, values in rows_of.items()]
    return [*lines, *markdown(("", *(f"`{row['name']}`" for row in rows)), cells)]


def _change(stored: dict[str, Any], places: int, more: int) -> str:
    change = Change(**stored)
    low, high = change.ci
    return f"{change.before:.{places}f} → {change.after:.{places}f} [{low:+.{more}f}, {high:+.{more}f}]"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns that each file has")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of int8.json and int8.md")
    parser.add_argument("--json", action="store_true", help="print the rows")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
