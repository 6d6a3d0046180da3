"""Measure the full FashionMNIST recipe over three seeds, write its table, and release seed 0 as zoo/fashion-mnist.

    bash scripts/train_example.sh             # trains everything first, then calls this
    python scripts/make_example.py            # results/fashion-mnist.{json,md} and zoo/fashion-mnist/

Every number is of the 10,000 test images, leave-one-out. Which seed is released was decided beforehand (0), not by
its result.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tables import commit

from hetsearch.bundle import WEIGHTS, read_card, write_card
from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import load_pixels
from hetsearch.data.sources import open_source
from hetsearch.evaluation import Evaluation, evaluate, write_evaluation
from hetsearch.evaluation.result import METRICS, MatrixRow
from hetsearch.export import export_bundle
from hetsearch.files import write_json, write_text
from hetsearch.metrics import Items, first_hits, mean_interval
from hetsearch.runtime import load_encoder
from hetsearch.runtime.threads import available_threads
from hetsearch.space import EmbeddingSpace

DATA = "fashion-mnist:test"
COMMAND = "python scripts/make_example.py"
PARITY_IMAGES = 256  # of the validation split
RELEASED = 0  # the seed

MEANING = {
    "paragon": "M(g,g)",
    "heterogeneous": "M(q,g)",
    "homogeneous": "M(q,q)",
    "baseline": "M(q*,q*)",
    "control": "M(q*,g)",
}


def main() -> None:
    """Measure, write the table, release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the trainings lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--zoo", type=Path, default=Path("zoo/fashion-mnist"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args()
    images = open_source(DATA)
    space = EmbeddingSpace.load(given.runs / "fashion-mnist")
    found = {seed: measure(given.runs, seed, images) for seed in given.seeds}
    mistakes = {seed: mistakes_of(evaluation, space) for seed, evaluation in found.items()}
    write_evaluation(found[RELEASED], given.runs / "fashion-mnist-report", images)
    rows = [row for seed, evaluation in found.items() for row in result_rows(evaluation, seed, mistakes[seed])]
    write_json(given.results / "fashion-mnist.json", rows)
    write_text(given.results / "fashion-mnist.md", as_markdown(found, mistakes))
    release(given.runs, given.zoo, found[RELEASED], images)


def measure(runs: Path, seed: int, images: ImageSet) -> Evaluation:
    """The whole matrix of one seed against the float32 gallery encoder."""
    gallery = load_encoder(runs / "fashion-mnist" / "gallery-encoder", threads=available_threads())
    query = load_encoder(runs / f"fashion-mnist-query-{seed}" / "query-encoder")
    free = load_encoder(runs / f"fashion-mnist-free-{seed}" / "free-encoder")
    return evaluate([query], gallery, images, [(free.name, free)], command=COMMAND)


def mistakes_of(evaluation: Evaluation, space: EmbeddingSpace) -> dict[str, dict[str, Any]]:
    """Who mistakes the class through the space's classifier, and with whom the wrong first neighbours of M(q,g) go.

    Args:
        evaluation: leave-one-out, so that every image has both encoders' vectors.
        space: with its classifier.

    Returns:
        By row of results/fashion-mnist.json, ``metrics`` and their intervals ``ci``, as fractions.
    """
    assert space.classifier is not None
    labels, classes = np.array(evaluation.labels), np.array(space.classes)
    names = {row.role: name for name, row in reversed(evaluation.encoders.items())}  # the first of each role
    heavy, light = (evaluation.embeddings[names[role]] for role in ("gallery", "query"))
    right = {
        sign: classes[(side.vectors @ space.classifier.T).argmax(axis=1)] == labels
        for sign, side in (("g", heavy), ("q", light))
    }
    query, items = (Items(side.vectors, labels, np.array(side.keys)) for side in (light, heavy))
    first = np.concatenate([order[:, 0] for _, order, _ in first_hits(query, items, 1)])
    wrong = labels[first] != labels
    rows = {
        "class by W": {sign: of.astype(np.float64) for sign, of in right.items()},
        "wrong first neighbours": {
            "query mistaken by q": (~right["q"])[wrong].astype(np.float64),
            "item mistaken by g": (~right["g"][first])[wrong].astype(np.float64),
        },
    }
    return {
        name: {
            "metrics": {metric: float(values.mean()) for metric, values in columns.items()},
            "ci": {metric: mean_interval(values) for metric, values in columns.items()},
        }
        for name, columns in rows.items()
    }


def result_rows(evaluation: Evaluation, seed: int, mistakes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of results/fashion-mnist.json."""
    shared = {
        "data": evaluation.data,
        "seed": seed,
        "commit": commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "command": COMMAND,
    }
    matrix = [
        {"name": MEANING[row.kind], **shared, "metrics": row.metrics, "ci": row.intervals} for row in evaluation.matrix
    ]
    verdict = next(iter(evaluation.verdicts.values()))
    differences = verdict.differences
    retention = {
        "name": "retention M(q,g)/M(g,g)",
        **shared,
        "metrics": verdict.retention,
        "ci": {metric: value["ci"] for metric, value in differences.get("retention", {}).items()},
    }
    return [*matrix, retention, *({"name": name, **shared, **row} for name, row in mistakes.items())]


def as_markdown(found: dict[int, Evaluation], mistakes: dict[int, dict[str, dict[str, Any]]]) -> str:
    """The table for people: mean over seeds with the range, and each seed's verdict."""
    first = next(iter(found.values()))
    costs = first.encoders
    heavy, light = (next(row for row in costs.values() if row.role == role) for role in ("gallery", "query"))
    lines = [
        "# FashionMNIST: the released example",
        "",
        f"`{COMMAND}` on {first.n_queries:,} test images, leave-one-out; {len(found)} seed(s) of the query encoder and "
        "the free encoder, one gallery encoder (float32). Mean over seeds, in brackets smallest and largest.",
        "",
        f"| | {' | '.join(METRICS)} |",
        f"| --- | {' | '.join('---' for _ in METRICS)} |",
    ]
    for kind, name in MEANING.items():
        matrix = [_row(evaluation, kind).metrics for evaluation in found.values()]
        cells = [_over_seeds([metrics[metric] for metrics in matrix]) for metric in METRICS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    verdicts = [_verdict(evaluation) for evaluation in found.values()]
    kept = [_over_seeds([verdict.retention[metric] for verdict in verdicts]) for metric in METRICS]
    lines += [f"| retention M(q,g)/M(g,g) | {' | '.join(kept)} |", ""]
    lines += [
        f"Cost of a query: {light.macs:,} MACs against {heavy.macs:,} ({heavy.macs / light.macs:.0f} times fewer), "
        f"{light.params:,} parameters against {heavy.params:,} ({heavy.params / light.params:.0f} times fewer), an "
        f"ONNX file of {light.bytes:,} bytes against {heavy.bytes:,}, {light.latency_ms:.2f} ms against "
        f"{heavy.latency_ms:.1f} ms on one thread.",
        "",
        _mistakes_in_words(list(mistakes.values())),
        "",
        "| seed | compatible by map, p@1 | useful by map, p@1 | nfr@1 | pfr@1 |",
        "| --- | --- | --- | --- | --- |",
    ]
    for seed, evaluation in found.items():
        verdict = _verdict(evaluation)
        claims = [
            ", ".join(_word(answers[metric]) for metric in ("map", "p@1"))
            for answers in (verdict.compatible, verdict.useful)
        ]
        lines.append(f"| {seed} | {claims[0]} | {claims[1]} | {verdict.nfr_at_1:.4f} | {verdict.pfr_at_1:.4f} |")
    return "\n".join(lines) + "\n"


def release(runs: Path, zoo: Path, evaluation: Evaluation, images: ImageSet) -> None:
    """Copy space and encoders to ``zoo``; the gallery encoder with int8 weights, its float32 numbers recorded."""
    sources = {
        "space": runs / "fashion-mnist" / "space",
        "gallery-encoder": runs / "fashion-mnist" / "gallery-encoder",
        "query-encoder": runs / f"fashion-mnist-query-{RELEASED}" / "query-encoder",
        "free-encoder": runs / f"fashion-mnist-free-{RELEASED}" / "free-encoder",
    }
    for name, source in sources.items():
        shutil.rmtree(zoo / name, ignore_errors=True)
        shutil.copytree(source, zoo / name)
    record = {"data": evaluation.data, "n_queries": evaluation.n_queries}
    heavy, light, free = (zoo / name for name in list(sources)[1:])
    sample = load_pixels(open_source("fashion-mnist:validation").subset(range(PARITY_IMAGES)), read_card(heavy).input)
    paragon = {**record, "metrics": _row(evaluation, "paragon").metrics, "precision": "float32", "command": COMMAND}
    _add_numbers(heavy, paragon=paragon)
    export_bundle(heavy, precision="int8-weights", images=sample)
    (heavy / WEIGHTS).unlink()
    int8 = evaluate([load_encoder(light)], load_encoder(heavy, threads=available_threads()), images, command=COMMAND)
    own = {**record, "metrics": _row(int8, "paragon").metrics, "precision": "int8-weights", "command": COMMAND}
    _add_numbers(heavy, paragon=paragon, as_released=own)
    compatibility = {
        **record,
        "command": COMMAND,
        "matrix": [row.as_dict() for row in evaluation.matrix],
        "verdict": _verdict(evaluation).as_dict(),
        "with_the_released_gallery_encoder": _row(int8, "heterogeneous").metrics,
    }
    _add_numbers(light, compatibility=compatibility)
    _add_numbers(free, baseline={**record, "metrics": _row(evaluation, "baseline").metrics, "command": COMMAND})


def _mistakes_in_words(mistakes: Sequence[dict[str, dict[str, Any]]]) -> str:
    def told(row: str, metric: str) -> str:
        return _over_seeds([seed[row]["metrics"][metric] for seed in mistakes])

    return (
        f"Through the space's classifier q names the class of {told('class by W', 'q')} of the images and g of "
        f"{told('class by W', 'g')}. Of the wrong first neighbours of M(q,g), "
        f"{told('wrong first neighbours', 'query mistaken by q')} have a query that q mistakes, and "
        f"{told('wrong first neighbours', 'item mistaken by g')} an item that g mistakes."
    )


def _add_numbers(folder: Path, **numbers: Any) -> None:
    card = read_card(folder)
    write_card(folder, card.model_copy(update={"numbers": {**card.numbers, **numbers}}))


def _row(evaluation: Evaluation, kind: str) -> MatrixRow:
    return next(row for row in evaluation.matrix if row.kind == kind)


def _verdict(evaluation: Evaluation) -> Any:
    return next(iter(evaluation.verdicts.values()))


def _over_seeds(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.4f}" if len(set(values)) == 1 else f"{mean:.4f} ({min(values):.4f} to {max(values):.4f})"


def _word(answer: bool | None) -> str:
    return {True: "yes", False: "no", None: "open"}[answer]


if __name__ == "__main__":
    main()
