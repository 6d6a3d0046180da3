"""Table "compatibility": which objectives bring a 0.1 M query network into a large network's space, and how near.

    python scripts/table_compatibility.py                         # everything that is missing
    python scripts/table_compatibility.py --only emoji --seeds 0
    python scripts/table_compatibility.py --words                 # results/compatibility.md from the rows there are

For each method three settings are tried on the validation split with a short training, the best by M(q, g) mAP is
trained in full with each seed, and measured once on the test images: M(q, q), M(q, g), and per query the flips against
the gallery encoder's own query. The trials are in results/compatibility-trials.json. M(g, g), the free encoders
M(q*, q*) and the control M(q*, g) stand beside them. Rows are written as they are done. Before it:
scripts/train_example.sh for FashionMNIST, and for emoji the commands in configs/emoji/gallery.yaml.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tables import Table, cost_of, judge, markdown, over_seeds, run, slug

from hetsearch.bundle import read_card
from hetsearch.config import changed, load_config
from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import load_pixels
from hetsearch.data.sides import Sides
from hetsearch.data.sources import open_source
from hetsearch.errors import UsageError
from hetsearch.evaluation.run import embed
from hetsearch.evaluation.scores import Scores, score
from hetsearch.export import export_bundle
from hetsearch.files import write_text
from hetsearch.metrics import flip_rates, update_gain
from hetsearch.preprocess import InputSpec
from hetsearch.runtime import load_encoder
from hetsearch.runtime.threads import available_threads
from hetsearch.space import Vectors
from hetsearch.training.gallery import train_gallery
from hetsearch.training.query import train_query
from hetsearch.training.recipe import Recipe

SEEDS = (0, 1, 2)
COMMAND = "python scripts/table_compatibility.py"
ANCHOR = "frozen + cosine"  # what the additions are added to, and compared with


@dataclass(frozen=True)
class Benchmark:
    """One data set: where its recipes lie, and how long a training is."""

    configs: str
    space: str  # folder of the gallery encoder's run
    epochs: int
    trial_epochs: int


DATA = {
    "fashion-mnist": Benchmark("configs/fashion-mnist", "runs/fashion-mnist", 15, 4),
    "emoji": Benchmark("configs/emoji", "runs/emoji", 60, 20),
}

Settings = Mapping[str, Any]  # overrides of the query recipe


def _objectives(**terms: Any) -> Settings:
    configs = {name: value if isinstance(value, dict) else {"weight": value} for name, value in terms.items()}
    return {"objectives": configs}


def _alone(name: str) -> tuple[Settings, ...]:
    # The optimiser takes no notice of one objective's weight, so the learning rate is tried instead.
    return tuple({**_objectives(**{name: 1.0}), "optimizer.lr": rate} for rate in (0.002, 0.004, 0.008))


def _added(name: str, *tried: Any) -> tuple[Settings, ...]:
    return tuple(_objectives(**{name: value}) for value in tried)


METHODS: dict[str, tuple[Settings, ...]] = {  # each with three settings; "anchor + …": added to the anchor's best one
    "frozen classifier": tuple(_objectives(frozen_classifier={"margin": margin}) for margin in (0.0, 0.1, 0.15)),
    "cosine regression": _alone("cosine_regression"),
    "L2 regression": _alone("l2_regression"),
    "soft labels": _alone("soft_labels"),
    "soft labels + cosine (no labels)": tuple(
        _objectives(soft_labels=1.0, cosine_regression=weight) for weight in (1.0, 4.0, 16.0)
    ),
    ANCHOR: tuple(_objectives(frozen_classifier=1.0, cosine_regression=weight) for weight in (1.0, 4.0, 16.0)),
    f"{ANCHOR} + own head + MS": tuple(
        _objectives(classification=0.5, multi_similarity=weight) for weight in (0.1, 0.25, 1.0)
    ),
    f"{ANCHOR} + soft labels": _added("soft_labels", 0.5, 2.0, 8.0),
    f"{ANCHOR} + similarity": _added("similarity", 0.5, 2.0, 8.0),
    f"{ANCHOR} + contextual": _added("contextual", *({"tau_q": tau} for tau in (0.05, 0.1, 1.0))),
    f"{ANCHOR} + d3still": _added("d3still", 0.003, 0.01, 0.03),
    f"{ANCHOR} + codebook": _added("codebook", 0.5, 2.0, 8.0),
    f"{ANCHOR} + class boundary": _added("class_boundary", 0.5, 2.0, 8.0),
    f"{ANCHOR} + cross-contrastive": _added("cross_contrastive", 0.1, 0.5, 2.0),
}
FITTED = ("procrustes", "ridge")  # closed-form maps after the best method
LARGER: dict[str, Settings] = {  # other query networks, with the anchor's settings
    "MobileNetV3-Small": {"architecture": "timm", "arguments": {"name": "mobilenetv3_small_100"}, "dim": 128},
    "ShuffleNetV2 x0.5": {"architecture": "torchvision", "arguments": {"name": "shufflenet_v2_x0_5"}, "dim": 128},
}
PARAGON, BASELINE, CONTROL, PIXELS = "M(g,g)", "M(q*,q*)", "M(q*,g)", "raw pixels"


def main() -> None:
    """Make what is missing, then the words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=DATA, default=list(DATA), help="data sets")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--runs", type=Path, default=Path("runs/compatibility"), help="folder of the trainings")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--words", action="store_true", help="only write the Markdown")
    given = parser.parse_args()
    table = Table(given.results / "compatibility.json", given.runs, COMMAND)
    trials = Table(given.results / "compatibility-trials.json", given.runs, COMMAND)
    for data in [] if given.words else given.only:
        bench = Bench(data, table, trials)
        bench.references(given.seeds)
        for seed in given.seeds:
            for name in given.methods:
                bench.method(name, seed)
            bench.fitted(seed)
            bench.larger(seed)
            write_words(table, given.results / "compatibility.md")
    write_words(table, given.results / "compatibility.md")


class Bench:
    """One data set, its gallery encoder and its test images."""

    def __init__(self, data: str, table: Table, trials: Table) -> None:
        self.data, self.table, self.trials = data, table, trials
        self.settings = DATA[data]
        self.source = f"{data}:test"
        self.images: ImageSet = open_source(self.source)
        self.sides = Sides.of(self.images)
        self.space = Path(self.settings.space)
        self.gallery = load_encoder(self.space / "gallery-encoder", threads=available_threads())
        table.require_space(self.source, self.gallery.space)
        trials.require_space(data, self.gallery.space)
        self.heavy: Vectors = embed(self.gallery, self.images).vectors
        self.paragon = self.score(self.heavy, self.heavy)

    def score(self, query: Vectors, gallery: Vectors) -> Scores:
        """One cell of the matrix."""
        return score(self.sides.query(query), self.sides.gallery(gallery))

    def references(self, seeds: list[int]) -> None:
        """M(g,g), the free encoders in both galleries, and raw pixels."""
        if not self.table.has(PARAGON, self.source, 0):
            card = read_card(self.space / "gallery-encoder")
            cost = cost_of(card, self.space / "gallery-encoder")
            self.table.add(PARAGON, self.source, 0, self.paragon, space=self.gallery.space, cost=cost)
        if not self.table.has(PIXELS, self.source, 0):
            vectors = raw_pixels(self.images)
            self.table.add(PIXELS, self.source, 0, self.score(vectors, vectors))
        for seed in seeds:
            if self.table.has(CONTROL, self.source, seed):
                continue
            recipe = self.recipe("free.yaml", {"seed": seed, "schedule.epochs": self.settings.epochs})
            trained = train_gallery(recipe, self.runs("free", seed))
            export_bundle(trained.bundle)
            vectors = embed(load_encoder(trained.bundle), self.images).vectors
            cost = cost_of(read_card(trained.bundle), trained.bundle)
            if not self.table.has(BASELINE, self.source, seed):
                self.table.add(BASELINE, self.source, seed, self.score(vectors, vectors), cost=cost)
            found = self.score(vectors, self.heavy)
            self.table.add(CONTROL, self.source, seed, found, space=self.gallery.space, cost=cost)

    def method(self, name: str, seed: int) -> None:
        """The method's best setting, trained in full."""
        if not self.table.has(name, self.source, seed):
            self.row(name, seed, self.chosen(name))

    def fitted(self, seed: int) -> None:
        """The best method by validation, with a closed-form map after it; once all have been tried."""
        if any(len(self.trials.of(name, self.data)) < len(METHODS[name]) for name in METHODS):
            return  # another one may yet be the best, and all seeds need the same
        best = max(METHODS, key=lambda name: self.best_trial(name)["validation"]["map"])
        for method in FITTED:
            name = f"best + {method}"
            if not self.table.has(name, self.source, seed):
                self.row(name, seed, {**self.chosen(best), "align": method}, after=best)

    def larger(self, seed: int) -> None:
        """Other query networks, trained with the anchor's setting."""
        for name, encoder in LARGER.items():
            if not self.table.has(name, self.source, seed):
                self.row(name, seed, {**self.chosen(ANCHOR), "encoder": encoder})

    def row(self, name: str, seed: int, settings: Settings, **more: Any) -> None:
        """Train with some settings, measure on the test images, write the row."""
        sys.stderr.write(f"{self.data}, seed {seed}: {name}\n")
        recipe = self.recipe("query.yaml", {**settings, "seed": seed, "schedule.epochs": self.settings.epochs})
        trained = train_query(recipe, self.space, self.runs(name, seed))
        export_bundle(trained.bundle)
        vectors = embed(load_encoder(trained.bundle), self.images).vectors
        found = self.score(vectors, self.heavy)
        flips = flip_rates(self.paragon.values["p@1"], found.values["p@1"])
        free = next(row["metrics"] for row in self.table.of(BASELINE, self.source) if row["seed"] == seed)
        light, above = found.means(), self.paragon.means()
        self.table.add(
            name,
            self.source,
            seed,
            found,
            space=self.gallery.space,
            homogeneous={key: value for key, value in self.score(vectors, vectors).means().items() if key != "r@1"},
            retention={metric: light[metric] / above[metric] for metric in ("p@1", "map")},
            # The gain has the form of the update gain, with the free encoder in the place of the old one.
            gain={metric: update_gain(light[metric], free[metric], above[metric]) for metric in ("p@1", "map")},
            flips={"nfr@1": flips.negative, "pfr@1": flips.positive},
            settings=dict(settings),
            validation=trained.best,
            cost=cost_of(read_card(trained.bundle), trained.bundle),
            seconds=round(trained.seconds),
            **more,
        )

    def chosen(self, name: str) -> Settings:
        """The best of the method's settings; those that were not tried yet are tried now."""
        tried = self.settings_of(name)
        for number, settings in enumerate(tried):
            if not self.trials.has(name, self.data, number):
                sys.stderr.write(f"{self.data}, trial {number + 1} of {len(tried)}: {name}\n")
                recipe = self.recipe("query.yaml", {**settings, "schedule.epochs": self.settings.trial_epochs})
                trained = train_query(recipe, self.space, self.runs(f"trial {name}", number))
                told = {"space": self.gallery.space, "settings": dict(settings), "validation": trained.best}
                self.trials.note(name, self.data, number, **told)
        best = self.best_trial(name)
        if best["settings"] != tried[int(best["seed"])]:
            raise UsageError(
                f"'{self.trials.results}' holds trials of '{name}' with other settings",
                observed=best["settings"],
                expected=tried[int(best["seed"])],
                hint="Remove those trials, and the rows that follow from them.",
            )
        return tried[int(best["seed"])]

    def settings_of(self, name: str) -> tuple[Settings, ...]:
        """What is tried of a method; an addition stands beside the anchor's chosen objectives."""
        if not name.startswith(f"{ANCHOR} + "):
            return METHODS[name]
        anchor = self.chosen(ANCHOR)["objectives"]
        return tuple({**added, "objectives": {**anchor, **added["objectives"]}} for added in METHODS[name])

    def best_trial(self, name: str) -> dict[str, Any]:
        """The trial with the highest M(q,g) mAP on the validation split; its ``seed`` is the setting's number."""
        return max(self.trials.of(name, self.data), key=lambda row: float(row["validation"]["map"]))

    def recipe(self, file: str, changes: Settings) -> Recipe:
        """A recipe of the data set with some keys changed; evaluated rarely, since only the best epoch counts."""
        recipe = load_config(Recipe, Path(self.settings.configs) / file)
        return changed(recipe, {"schedule.evaluate_every": 5, **changes})

    def runs(self, name: str, seed: int) -> Path:
        """Where a training lies."""
        return self.table.runs / self.data / f"{slug(name)}-{seed}"


def raw_pixels(images: ImageSet) -> Vectors:
    """16 × 16 pixels as a vector, centred and of unit length: what any network has to beat."""
    spec = InputSpec(size=16, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    flat = load_pixels(images, spec).reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(flat, axis=1, keepdims=True)
    flat[lengths[:, 0] == 0, 0] = 1.0  # a picture of one colour
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def write_words(table: Table, path: Path) -> None:
    """The table for people, the best first."""
    lines = [
        "# Compatibility: ways into a large network's space for a 0.1 M network",
        "",
        f"Made by `{COMMAND}` from `results/compatibility.json`. Test images; mean over seeds (smallest to largest). "
        "Retention is M(q,g)/M(g,g) by mAP; NFR@1 is the share of queries that the gallery encoder's own query "
        "answers rightly and the light one does not; gain is (M(q,g) − M(q*,q*)) / (M(g,g) − M(q*,q*)) by mAP. An "
        f"addition to \"{ANCHOR}\" stands beside the weights that were chosen for that one. The last column compares "
        f"with \"{ANCHOR}\" query by query: an advantage counts if its 95 % interval is above 0 for each of 3 seeds.",
        "",
    ]
    for data in DATA:
        source = f"{data}:test"
        rows = {name: table.of(name, source) for name in dict.fromkeys(row["name"] for row in table.rows)}
        rows = {name: found for name, found in rows.items() if found}
        if not rows:
            continue
        lines += [f"## {data}", ""]
        plain = [name for name in (PARAGON, BASELINE, CONTROL, PIXELS) if name in rows]
        cells = [[name, *(_mean(rows[name], "metrics", metric) for metric in ("p@1", "map", "r@10"))] for name in plain]
        lines += [*markdown(["", "P@1", "mAP", "R@10"], cells), ""]
        methods = [name for name in rows if name not in plain]
        methods.sort(key=lambda name: -sum(row["metrics"]["map"] for row in rows[name]) / len(rows[name]))
        cells = [
            [
                name,
                str(len(rows[name])),
                _mean(rows[name], "metrics", "p@1"),
                _mean(rows[name], "metrics", "map"),
                _mean(rows[name], "homogeneous", "map"),
                _mean(rows[name], "retention", "map"),
                _mean(rows[name], "gain", "map"),
                _mean(rows[name], "flips", "nfr@1"),
                _against(table, name, source),
            ]
            for name in methods
        ]
        numbers = ["M(q,g) P@1", "M(q,g) mAP", "M(q,q) mAP", "retention", "gain", "NFR@1"]
        lines += [*markdown(["method", "seeds", *numbers, "against anchor"], cells), ""]
    write_text(path, "\n".join(lines).rstrip() + "\n")


def _mean(rows: list[dict[str, Any]], part: str, metric: str) -> str:
    if any(row[part][metric] is None for row in rows):
        return "undefined"
    return over_seeds(rows, lambda row: float(row[part][metric]))


def _against(table: Table, name: str, source: str) -> str:
    seeds = [row["seed"] for row in table.of(name, source) if table.has(ANCHOR, source, row["seed"])]
    if name == ANCHOR or not seeds:
        return "–"
    found = [table.compare(name, ANCHOR, source, seed, "map") for seed in seeds]
    words = {"confirmed": "better", "refuted": "worse", "undecided": "no difference shown"}
    each = ", ".join(f"{one['difference']:+.4f}" for one in found)
    verdict = judge(found, seeds=len(SEEDS))
    return f"{words.get(verdict, verdict)} ({each})"


if __name__ == "__main__":
    run(main)
