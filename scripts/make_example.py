"""Measure the full recipe of a data set over three seeds, write its table, and release seed 0 as zoo/NAME.

    bash scripts/train_example.sh                      # trains everything first, then calls this
    python scripts/make_example.py fashion-mnist       # results/fashion-mnist.{json,md} and zoo/fashion-mnist/
    python scripts/make_example.py emoji               # results/emoji.{json,md} and zoo/emoji/

Every number is of the test images, leave-one-out. Which seed is released was decided beforehand (0), not by its result.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from example_words import BLENDED, MEANING, Mistakes, as_markdown, row_of, verdict_of
from tables import commit, run

from hetsearch.bundle import WEIGHTS, read_card, write_card
from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import load_pixels
from hetsearch.data.sources import open_source
from hetsearch.evaluation import Evaluation, evaluate, write_evaluation
from hetsearch.evaluation.blending import Choice, choose_share
from hetsearch.export import export_bundle
from hetsearch.export.blend import blend_bundles
from hetsearch.files import write_json, write_text
from hetsearch.metrics import Items, first_hits, mean_interval
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.runtime.threads import available_threads
from hetsearch.space import EmbeddingSpace

DATA = ("fashion-mnist", "emoji")
COMMAND = "python scripts/make_example.py"
PARITY_IMAGES = 256  # of the validation split
RELEASED = 0  # the seed


def main() -> None:
    """Measure, write the table, release."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=DATA, default=DATA[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the trainings lie")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--zoo", type=Path, default=Path("zoo"), help="folder of the released examples")
    parser.add_argument("--results", type=Path, default=Path("results"))
    given = parser.parse_args()
    example = Example(given.data, given.runs)
    images = open_source(f"{example.name}:test")
    space = EmbeddingSpace.load(given.runs / example.name)
    found = {seed: example.measure(seed, images) for seed in given.seeds}
    blends = {seed: blend for seed in given.seeds if (blend := example.blended(seed, images)) is not None}
    # Of classes that were never seen in training the classifier knows nothing.
    known = set(images.labels or ()) <= set(space.classes)
    mistakes = {seed: mistakes_of(evaluation, space) for seed, evaluation in found.items() if known}
    write_evaluation(found[RELEASED], given.runs / f"{example.name}-report", images)
    rows = [row for seed, evaluation in found.items() for row in example.rows(evaluation, seed, mistakes.get(seed, {}))]
    rows += [row for seed, blend in blends.items() for row in example.blended_rows(*blend, seed)]
    write_json(given.results / f"{example.name}.json", rows)
    words = as_markdown(example.name, example.command, found, blends, list(mistakes.values()))
    write_text(given.results / f"{example.name}.md", words)
    example.release(given.zoo / example.name, found[RELEASED], images)


class Example:
    """The trainings of one data set.

    Args:
        name: of the data set.
        runs: where the trainings lie: ``NAME``, ``NAME-query-SEED`` and ``NAME-free-SEED``.
    """

    def __init__(self, name: str, runs: Path) -> None:
        self.name, self.runs, self.home = name, runs, runs / name
        self.command = f"{COMMAND} {name}"

    def encoder(self, role: str, seed: int) -> Path:
        """The bundle of the query or the free encoder."""
        return self.runs / f"{self.name}-{role}-{seed}" / f"{role}-encoder"

    def measure(self, seed: int, images: ImageSet) -> Evaluation:
        """The whole matrix of one seed against the float32 gallery encoder."""
        gallery, query, free = self._encoders(seed)
        return evaluate([query], gallery, images, [(free.name, free)], command=self.command)

    def blended(self, seed: int, images: ImageSet) -> tuple[Choice, Evaluation] | None:
        """The same in a gallery of the blend, its share chosen on the validation split; None where it is no better."""
        gallery, query, free = self._encoders(seed)
        choice = choose_share(gallery, query, open_source(f"{self.name}:validation"))
        if not choice.better:
            return None
        out = self.runs / f"{self.name}-blend-{seed}"
        shutil.rmtree(out, ignore_errors=True)
        blend_bundles(gallery, query, out, choice.share, measured=choice.as_dict(), command=self.command)
        blend = load_encoder(out, threads=available_threads())
        return choice, evaluate([query], blend, images, [(free.name, free)], command=self.command)

    def blended_rows(self, choice: Choice, evaluation: Evaluation, seed: int) -> list[dict[str, Any]]:
        """Rows of M(q, b) and M(b, b)."""
        named = {row.kind: row for row in evaluation.matrix}
        return [
            {
                "name": name,
                **self._shared(evaluation, seed),
                "share": choice.share,
                "metrics": named[kind].metrics,
                "ci": named[kind].intervals,
            }
            for kind, name in BLENDED.items()
        ]

    def _encoders(self, seed: int) -> tuple[OnnxEncoder, OnnxEncoder, OnnxEncoder]:
        gallery = load_encoder(self.home / "gallery-encoder", threads=available_threads())
        return gallery, load_encoder(self.encoder("query", seed)), load_encoder(self.encoder("free", seed))

    def _shared(self, evaluation: Evaluation, seed: int) -> dict[str, Any]:
        return {
            "data": evaluation.data,
            "seed": seed,
            "commit": commit(),
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
            "command": self.command,
        }

    def rows(self, evaluation: Evaluation, seed: int, mistakes: Mistakes) -> list[dict[str, Any]]:
        """Rows of results/NAME.json."""
        shared = self._shared(evaluation, seed)
        matrix = [
            {"name": MEANING[row.kind], **shared, "metrics": row.metrics, "ci": row.intervals}
            for row in evaluation.matrix
        ]
        verdict = verdict_of(evaluation)
        differences = verdict.differences
        retention = {
            "name": "retention M(q,g)/M(g,g)",
            **shared,
            "metrics": verdict.retention,
            "ci": {metric: value["ci"] for metric, value in differences.get("retention", {}).items()},
        }
        return [*matrix, retention, *({"name": name, **shared, **row} for name, row in mistakes.items())]

    def release(self, zoo: Path, evaluation: Evaluation, images: ImageSet) -> None:
        """Copy space and encoders to ``zoo``; the gallery encoder with int8 weights, its float32 numbers recorded."""
        sources = {
            "space": self.home / "space",
            "gallery-encoder": self.home / "gallery-encoder",
            "query-encoder": self.encoder("query", RELEASED),
            "free-encoder": self.encoder("free", RELEASED),
        }
        for name, source in sources.items():
            shutil.rmtree(zoo / name, ignore_errors=True)
            shutil.copytree(source, zoo / name)
        record = {"data": evaluation.data, "n_queries": evaluation.n_queries, "command": self.command}
        heavy, light, free = (zoo / name for name in list(sources)[1:])
        sample = open_source(f"{self.name}:validation").subset(range(PARITY_IMAGES))
        paragon = {**record, "metrics": row_of(evaluation, "paragon").metrics, "precision": "float32"}
        _add_numbers(heavy, paragon=paragon)
        export_bundle(heavy, precision="int8-weights", images=load_pixels(sample, read_card(heavy).input))
        (heavy / WEIGHTS).unlink()
        gallery = load_encoder(heavy, threads=available_threads())
        verdict = verdict_of(evaluation).as_dict()
        del verdict["flips"]  # of each class, which may be hundreds; the report has them
        int8 = evaluate([load_encoder(light)], gallery, images, command=self.command)
        own = {**record, "metrics": row_of(int8, "paragon").metrics, "precision": "int8-weights"}
        _add_numbers(heavy, paragon=paragon, as_released=own)
        compatibility = {
            **record,
            "matrix": [row.as_dict() for row in evaluation.matrix],
            "verdict": verdict,
            "with_the_released_gallery_encoder": row_of(int8, "heterogeneous").metrics,
        }
        _add_numbers(light, compatibility=compatibility)
        _add_numbers(free, baseline={**record, "metrics": row_of(evaluation, "baseline").metrics})


def mistakes_of(evaluation: Evaluation, space: EmbeddingSpace) -> Mistakes:
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


def _add_numbers(folder: Path, **numbers: Any) -> None:
    card = read_card(folder)
    write_card(folder, card.model_copy(update={"numbers": {**card.numbers, **numbers}}))


if __name__ == "__main__":
    run(main)
