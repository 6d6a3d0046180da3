"""Table "upgrade": a new, better gallery encoder that is searched with against an older one's vectors (BCT).

    python scripts/table_upgrade.py            # everything that is missing in results/upgrade.json, and its words
    python scripts/table_upgrade.py --words    # results/upgrade.md from the rows there are

The older encoder is a small compact network, trained on half of the classes and half of their images; the new one has
twice its channels and learns from everything. Reported on FashionMNIST's test images, all ten classes: the
criterion M(new, old) > M(old, old) with the interval of the paired difference, and the update gain
(M(new, old) − M(old, old)) / (M(new*, new*) − M(old, old)), new* being trained without regard to the older one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from measured import Measured
from tables import HALF, Table, about, judge, markdown, mean_of, run, slug

from hetsearch.config import changed, load_config
from hetsearch.export import export_bundle
from hetsearch.files import write_text
from hetsearch.metrics import update_gain
from hetsearch.space import Vectors
from hetsearch.training.gallery import train_gallery
from hetsearch.training.recipe import Recipe

SEEDS = (0, 1, 2)
SOURCE = "fashion-mnist:test"
RECIPE = Path("configs/fashion-mnist/upgrade.yaml")
COMMAND = "python scripts/table_upgrade.py"

BOTH = {"classification": {}, "multi_similarity": {"weight": 0.5}}
OLD = {
    "data.classes": 5,
    "data.limit": 2_750,
    "encoder.arguments": {"widths": [8, 16, 32, 64]},
    "objectives": BOTH,
}
METHODS: dict[str, dict[str, Any]] = {
    "BCT, pseudo-classifier": {"frozen_classifier": {"missing": "pseudo"}},
    "BCT, new classes dropped": {"frozen_classifier": {"missing": "drop"}},
    "L2 regression": {"l2_regression": {}},
    "cosine regression": {"cosine_regression": {}},
}
SHOWN = {"p@1": "P@1", "map": "mAP"}
OLD_ROW, FREE_ROW, CONTROL_ROW = "M(old,old)", "M(new*,new*)", "M(new*,old)"
# "Towards Backward-Compatible Representation Learning", the first author's code (openBCT): ImageNet, top-1, old
# ResNet18 on half of the data, new ResNet50 on all of it.
PUBLISHED = [
    ["M(old,old)", "39.5"],
    ["BCT: M(new,old)", "42.2"],
    ["BCT, normalised classifier: M(new,old)", "46.8"],
    ["L2 regression: M(new,old)", "13.0"],
    ["BCT: M(new,new)", "55.6"],
    ["M(new*,new*)", "66.3"],
]


def main() -> None:
    """Make what is missing, then the words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--runs", type=Path, default=Path("runs/upgrade"), help="folder of the trainings")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--words", action="store_true", help="only write the Markdown")
    given = parser.parse_args()
    table = Table(given.results / "upgrade.json", given.runs, COMMAND)
    for seed in [] if given.words else given.seeds:
        make_rows(table, seed)
        write_words(table, given.results / "upgrade.md")
    write_words(table, given.results / "upgrade.md")


def make_rows(table: Table, seed: int) -> None:
    """All rows of one seed."""
    test = Measured(SOURCE)

    def trained(name: str, changes: dict[str, Any], **more: Any) -> tuple[Vectors, dict[str, Any]]:
        sys.stderr.write(f"seed {seed}: {name}\n")
        recipe = changed(load_config(Recipe, RECIPE), {**changes, "seed": seed})
        found = train_gallery(recipe, table.runs / f"{slug(name)}-{seed}", **more)
        export_bundle(found.bundle)
        return test.embed(found.bundle), {**about(found.bundle), "validation": found.best}

    if all(table.has(name, SOURCE, seed) for name in (OLD_ROW, FREE_ROW, CONTROL_ROW, *METHODS)):
        return
    old, about_old = trained("old", OLD)
    before = test.score(old, old)
    free, free_cost = trained("free", {"objectives": BOTH})
    above = test.score(free, free)
    for name, scores, spent in ((OLD_ROW, before, about_old), (FREE_ROW, above, free_cost)):
        if not table.has(name, SOURCE, seed):
            table.add(name, SOURCE, seed, scores, **spent)
    if not table.has(CONTROL_ROW, SOURCE, seed):
        table.add(CONTROL_ROW, SOURCE, seed, test.score(free, old), **free_cost)
    for name, objective in METHODS.items():
        if table.has(name, SOURCE, seed):
            continue
        new, spent = trained(name, {"objectives": {**BOTH, **objective}}, compatible_with=table.runs / f"old-{seed}")
        found = test.score(new, old)
        gains = {
            metric: update_gain(found.means()[metric], before.means()[metric], above.means()[metric])
            for metric in SHOWN
        }
        own = {metric: value for metric, value in test.score(new, new).means().items() if metric != "r@1"}
        table.add(name, SOURCE, seed, found, new_new=own, update_gain=gains, **spent)


def write_words(table: Table, path: Path) -> None:
    """The table for people."""
    lines = [
        "# Upgrade: a new gallery encoder against an older one's vectors",
        "",
        f"Made by `{COMMAND}` from `results/upgrade.json`. {SOURCE}, leave-one-out; mean over seeds (smallest to "
        f"largest). {HALF} Old: half of the classes, half of their images, half of the channels. "
        "Each objective against the older space has weight 1; none was tuned. A checkpoint is chosen by M(new,new), or "
        "M(old,old), on the validation images of all ten classes. The criterion is M(new,old) > M(old,old) "
        "query by query: it is confirmed if the 95 % interval is above 0 for each of 3 seeds.",
        "",
    ]
    plain = [[name, *_metrics(table.of(name, SOURCE))] for name in (OLD_ROW, FREE_ROW, CONTROL_ROW)]
    lines += [*markdown(["", "P@1", "mAP"], plain), ""]
    header = ["method", "M(new,old) P@1", "M(new,old) mAP", "M(new,new) P@1", "M(new,new) mAP"]
    header += [f"{what}, {metric}" for metric in SHOWN.values() for what in ("update gain", "criterion")]
    lines += [*markdown(header, [_cells(table, name) for name in METHODS if table.of(name, SOURCE)]), ""]
    lines += ["Published pattern (openBCT, ImageNet top-1 %, not ours):", "", *markdown(["", "top-1"], PUBLISHED)]
    write_text(path, "\n".join(lines).rstrip() + "\n")


def _metrics(rows: list[dict[str, Any]], part: str = "metrics") -> list[str]:
    return [mean_of(rows, part, metric) for metric in SHOWN]


def _cells(table: Table, name: str) -> list[str]:
    rows = table.of(name, SOURCE)
    cells = [name, *_metrics(rows), *_metrics(rows, "new_new")]
    for metric in SHOWN:
        found = [table.compare(name, OLD_ROW, SOURCE, row["seed"], metric) for row in rows]
        each = ", ".join(f"{one['difference']:+.4f}" for one in found)
        cells += [mean_of(rows, "update_gain", metric), f"{judge(found, seeds=len(SEEDS))} ({each})"]
    return cells


if __name__ == "__main__":
    run(main)
