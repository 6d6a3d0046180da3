"""Table "paper A": what the layers, the activation and the losses of the compact network are worth.

    python scripts/table_paper_a.py                     # everything that is missing in results/paper-a.json
    python scripts/table_paper_a.py --only fashion-mnist --seeds 0
    python scripts/table_paper_a.py --words             # results/paper-a.md from the rows that are there

The variants of "Spatially Optimized Compact Deep Metric Learning Model for Similarity Search" (arXiv 2404.06593),
trained with the recipes of configs/paper-a/, M(a, a) on the test images by the protocol of the house; emoji's test
concepts were never seen in training. A row is written as it is done; a training that was stopped goes on. The data has
to be there: hetsearch data fetch fashion-mnist, mnist, emoji.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from measured import Measured
from tables import Table, about, judge, markdown, mean_of, run, slug

from hetsearch.bundle import read_card
from hetsearch.config import changed, load_config
from hetsearch.export import export_bundle
from hetsearch.files import write_text
from hetsearch.training.gallery import train_gallery
from hetsearch.training.recipe import Recipe

DATA = ("fashion-mnist", "mnist", "emoji")
EXTRA = ("cifar10",)  # the paper's third set; it has to be downloaded by torchvision, so it is made where asked for
SEEDS = (0, 1, 2)
COMMAND = "python scripts/table_paper_a.py"

VARIANTS: dict[str, dict[str, Any]] = {
    "hybrid-1": {},
    "convolution": {"encoder.arguments": {"involutions": 0}},
    "involution": {"encoder.arguments": {"involutions": 4, "widths": []}},
    "hybrid-2": {"encoder.arguments": {"involutions": 2}},
    "hybrid-3": {"encoder.arguments": {"involutions": 3}},
    "hybrid-1, ReLU": {"encoder.arguments": {"activation": "relu"}},
    "hybrid-1, CE": {"objectives": {"classification": {}}},
    "hybrid-1, MS": {"objectives": {"multi_similarity": {}}},
    "ResNet50V2": {
        "encoder.architecture": "timm",
        "encoder.arguments": {"name": "resnetv2_50", "stem": "small"},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0005, "clip": 5.0},
        "precision": "bf16",
    },
}
LARGE = "ResNet50V2"  # one seed; it takes hundreds of times longer than the others
LARGE_CHANGES: dict[str, dict[str, Any]] = {
    # Without the stem for small images, which takes 16 times longer.
    "mnist": {"encoder.arguments": {"name": "resnetv2_50"}},
    "emoji": {"encoder.arguments": {"name": "resnetv2_50"}},
}
LARGE_WORDS = (
    "ResNet50V2 has one seed, an optimiser of its own, and bfloat16; on fashion-mnist it is the released gallery "
    "encoder, trained for longer and measured with its released int8 weights."
)
LARGE_TRAINED = {"fashion-mnist": Path("zoo/fashion-mnist/gallery-encoder")}

CLAIMS = (  # the paper's, as "first is above second"
    ("the hybrid beats the convolutions alone", "hybrid-1", "convolution"),
    ("the hybrid beats involutions alone", "hybrid-1", "involution"),
    ("one involution layer beats two", "hybrid-1", "hybrid-2"),
    ("one involution layer beats three", "hybrid-1", "hybrid-3"),
    ("GELU beats ReLU", "hybrid-1", "hybrid-1, ReLU"),
    ("CE + MS beats CE", "hybrid-1", "hybrid-1, CE"),
    ("CE + MS beats MS", "hybrid-1", "hybrid-1, MS"),
)


def main() -> None:
    """Make what is missing, then the words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=DATA + EXTRA, default=list(DATA), help="data sets")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--runs", type=Path, default=Path("runs/paper-a"), help="folder of the trainings")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--words", action="store_true", help="only write the Markdown")
    given = parser.parse_args()
    table = Table(given.results / "paper-a.json", given.runs, COMMAND)
    # Seed by seed, so that a table which was stopped early compares all variants.
    wanted = [(seed, data, name) for seed in given.seeds for data in given.only for name in given.variants]
    for seed, data, name in [] if given.words else wanted:
        if not (table.has(name, test_of(data), seed) or (name == LARGE and seed != SEEDS[0])):
            sys.stderr.write(f"{name}, {data}, seed {seed}\n")
            make_row(table, name, data, seed)
            write_words(table, given.results / "paper-a.md")
    write_words(table, given.results / "paper-a.md")


def make_row(table: Table, name: str, data: str, seed: int) -> None:
    """Train one variant and measure it."""
    bundle, told = trained(table, name, data, seed)
    test = Measured(test_of(data))
    vectors = test.embed(bundle)
    table.add(name, test.source, seed, test.score(vectors, vectors), **about(bundle), **told)


def trained(table: Table, name: str, data: str, seed: int) -> tuple[Path, dict[str, Any]]:
    """The bundle of one variant, and what the row says of its training."""
    changes = dict(VARIANTS[name])
    if name == LARGE:
        if data in LARGE_TRAINED:
            return LARGE_TRAINED[data], {"training": read_card(LARGE_TRAINED[data]).training["command"]}
        changes |= LARGE_CHANGES.get(data, {})
    recipe = changed(load_recipe(data), {**changes, "seed": seed})
    found = train_gallery(recipe, table.runs / data / f"{slug(name)}-{seed}")
    export_bundle(found.bundle)
    return found.bundle, {"validation": found.best, "seconds": round(found.seconds)}


def write_words(table: Table, path: Path) -> None:
    """The table and a sentence for each claim."""
    lines = [
        "# Paper A: the compact network, layer by layer",
        "",
        f"Made by `{COMMAND}` from `results/paper-a.json`; recipes in `configs/paper-a/`. M(a, a) on the test images, "
        "mean over seeds (smallest to largest). Trained in float32 and for a short while: a comparison of the layers, "
        "not of what they reach. The variants of a data set share one recipe, tuned for none of them, and "
        "\"involution\" has no convolutions behind its layers, hence far fewer parameters. Emoji is at 32 pixels here. "
        "No number here is the paper's: its tables could not be read.",
        "",
    ]
    for data in DATA + EXTRA:
        rows = [(name, table.of(name, test_of(data))) for name in VARIANTS]
        cells = [
            [
                name,
                str(len(found)),
                f"{found[0]['cost']['params']:,}",
                f"{found[0]['cost']['bytes']:,}",
                *(mean_of(found, "metrics", metric) for metric in ("p@1", "map", "r@10")),
            ]
            for name, found in rows
            if found
        ]
        if cells:
            header = ["variant", "seeds", "parameters", "ONNX bytes", "P@1", "mAP", "R@10"]
            lines += [f"## {data}", "", training_of(data), "", *markdown(header, cells), ""]
            lines += [LARGE_WORDS, ""] if table.of(LARGE, test_of(data)) else []
            lines += [*claims_of(table, data), ""]
    write_text(path, "\n".join(lines).rstrip() + "\n")


def training_of(data: str) -> str:
    """How long and how fast the variants of one data set learn."""
    recipe = load_recipe(data)
    return f"{recipe.schedule.epochs} epochs, {recipe.optimizer.name} with a learning rate of {recipe.optimizer.lr:g}."


def load_recipe(data: str) -> Recipe:
    """The recipe that the variants share."""
    return load_config(Recipe, Path("configs/paper-a") / f"{data}.yaml")


def claims_of(table: Table, data: str) -> list[str]:
    """Each claim of the paper on one data set: confirmed, refuted or undecided, by mAP and by P@1."""
    lines = []
    for claim, first, second in CLAIMS:
        seeds = [row["seed"] for row in table.of(first, test_of(data))]
        seeds = [seed for seed in seeds if table.has(second, test_of(data), seed)]
        words = []
        for metric in ("map", "p@1"):
            found = [table.compare(first, second, test_of(data), seed, metric) for seed in seeds]
            each = ", ".join(f"{one['difference']:+.4f} [{one['ci'][0]:+.4f}, {one['ci'][1]:+.4f}]" for one in found)
            words.append(f"{judge(found, seeds=len(SEEDS))} by {metric} ({each or 'no seed'})")
        lines.append(f"- {claim[0].upper()}{claim[1:]}: {'; '.join(words)}.")
    return lines


def test_of(data: str) -> str:
    """The source that is reported on."""
    return f"{data}:test"


if __name__ == "__main__":
    run(main)
