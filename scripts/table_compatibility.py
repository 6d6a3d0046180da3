"""Table "compatibility": which objectives bring a 0.1 M query network into a large network's space, and how near.

    python scripts/table_compatibility.py                         # everything that is missing
    python scripts/table_compatibility.py --only emoji --seeds 0
    python scripts/table_compatibility.py --words                 # results/compatibility.md from the rows there are

For each method three settings are tried on the validation split with a short training: an objective's own weight or
margin, at the data set's learning rate; or the rate, where an objective stands alone and its weight means nothing. The
best by M(q, g) mAP is trained in full with each seed, and measured once on the test images: M(q, q), M(q, g), and per
query the flips against the gallery encoder's own query. The trials are in results/compatibility-trials.json, where
``seed`` is the number of the setting. M(g, g), the free encoders M(q*, q*) and the control M(q*, g) stand beside them.
Rows are written as they are done. The gallery encoders are the released ones, zoo/NAME, with their int8 weights.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compatibility_methods import (
    ANCHOR,
    BASELINE,
    BLENDED,
    COMMAND,
    CONTROL,
    FITTED,
    FREE,
    LARGER,
    METHODS,
    PARAGON,
    PIXELS,
    RATE,
    SEEDS,
    VALIDATION,
    Settings,
)
from compatibility_words import write_words
from measured import Split, raw_pixels
from tables import Table, about, run, slug

from hetsearch.config import changed, load_config
from hetsearch.errors import UsageError
from hetsearch.evaluation.blending import SHARES
from hetsearch.evaluation.result import METRICS
from hetsearch.evaluation.scores import Scores
from hetsearch.evaluation.verdict import Paragon, paragon_of
from hetsearch.export import export_bundle
from hetsearch.files import atomic_folder, sha256_of
from hetsearch.metrics import flip_rates, update_gain
from hetsearch.runtime import load_encoder
from hetsearch.runtime.threads import available_threads
from hetsearch.space import Vectors, blend_vectors
from hetsearch.training.finish import Trained
from hetsearch.training.gallery import train_gallery
from hetsearch.training.query import train_query
from hetsearch.training.recipe import Recipe


@dataclass(frozen=True)
class Benchmark:
    """One data set: where its recipes lie, how long a training is, and how fast it learns."""

    configs: str
    space: str  # folder of the space and the gallery encoder
    epochs: int
    trial_epochs: int
    rate: float  # peak learning rate of all methods
    fitted: tuple[str, ...]  # after the best method; not prototypes where the classes are too many
    blended: bool  # whether the methods are compared in a blended gallery too


DATA = {
    # Of 0.004, 0.008 and 0.016 emoji's was the best for each of three methods; FashionMNIST's is of single objectives.
    "fashion-mnist": Benchmark("configs/fashion-mnist", "zoo/fashion-mnist", 10, 3, 0.016, FITTED, False),
    "emoji": Benchmark("configs/emoji", "zoo/emoji", 30, 10, 0.008, FITTED[:2], True),
}

SPLITS = (VALIDATION, "test")  # in this order: where there is a row of the test images, there is the other one


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
                bench.blended(name, seed)
            bench.fitted(seed)
            bench.larger(seed)
            write_words(table, trials, list(DATA), given.results / "compatibility.md")
    write_words(table, trials, list(DATA), given.results / "compatibility.md")


class Bench:
    """One data set and its gallery encoder."""

    def __init__(self, data: str, table: Table, trials: Table) -> None:
        self.data, self.table, self.trials = data, table, trials
        self.settings = DATA[data]
        self.space = Path(self.settings.space)
        gallery = load_encoder(self.space / "gallery-encoder", threads=available_threads())
        self.card = gallery.card
        # The space alone does not tell the released weights from the float32 ones.
        network = self.space / "gallery-encoder" / "model.onnx"
        self.of_gallery = {"space": gallery.space, "gallery": sha256_of(network)[:16]}
        self.splits = [Split(f"{data}:{split}", gallery) for split in SPLITS]
        for key, value in self.of_gallery.items():
            for split in self.splits:
                table.require_same(split.source, key, value, what="gallery encoder")
            trials.require_same(data, key, value, what="gallery encoder")

    def references(self, seeds: list[int]) -> None:
        """M(g,g), the free encoders in both galleries, and raw pixels."""
        told = {**self.of_gallery, **about(self.space / "gallery-encoder")}
        for split in self.splits:
            if not self.table.has(PARAGON, split.source, 0):
                above = self.paragon(split).as_dict()
                self.table.add(PARAGON, split.source, 0, split.paragon, paragon=above, **told)
            if not self.table.has(PIXELS, split.source, 0):
                vectors = raw_pixels(split.images)
                self.table.add(PIXELS, split.source, 0, split.score(vectors, vectors))
        for seed in seeds:
            if not (self.has(BASELINE, seed) and self.has(CONTROL, seed)):
                self.free(seed)

    def free(self, seed: int) -> None:
        """M(q*,q*) and M(q*,g), with the best of three learning rates."""
        settings = self.chosen(BASELINE)
        self.require_settings((BASELINE, CONTROL), settings)
        recipe = self.recipe("free.yaml", {**settings, "seed": seed, "schedule.epochs": self.settings.epochs})
        trained = train_gallery(recipe, self.runs("free", seed))
        export_bundle(trained.bundle)
        more = {"settings": dict(settings), "lr": self.settings.rate, **about(trained.bundle)}
        for split in self.splits:
            vectors = split.embed(trained.bundle)
            if not self.table.has(BASELINE, split.source, seed):
                self.table.add(BASELINE, split.source, seed, split.score(vectors, vectors), **more)
            if not self.table.has(CONTROL, split.source, seed):
                found = split.score(vectors, split.heavy)
                self.table.add(CONTROL, split.source, seed, found, **self.of_gallery, **more)

    def method(self, name: str, seed: int) -> None:
        """The method's best setting, trained in full."""
        if not self.has(name, seed):
            self.row(name, seed, self.chosen(name))

    def fitted(self, seed: int) -> None:
        """The best method by the validation images, with a closed-form map after it; once all are trained."""
        first = SEEDS[0]  # which decides for all seeds: they need the same method
        if not all(self.has(name, first) for name in METHODS) or not self.has(best := self.best(), seed):
            return
        for method in self.settings.fitted:
            name = f"best + {method}"
            if self.has(name, seed):
                continue
            run, done = self.runs(name, seed), self.runs(best, seed)
            if done.exists() and not run.exists():  # the same training, which goes on from its end
                with atomic_folder(run) as new:
                    shutil.copytree(done, new, dirs_exist_ok=True)
            self.row(name, seed, {**self.chosen(best), "align": method}, after=best)

    def larger(self, seed: int) -> None:
        """Other query networks, trained with the anchor's setting."""
        for name, network in LARGER.items():
            if not self.has(name, seed):
                self.row(name, seed, {**self.chosen(ANCHOR), **network})

    def row(self, name: str, seed: int, settings: Settings, **more: Any) -> None:
        """Train with some settings, measure on both splits, write a row of each."""
        self.require_settings((name,), settings)
        sys.stderr.write(f"{self.data}, seed {seed}: {name}\n")
        trained = self.train(name, seed, settings)
        told = {
            **self.of_gallery,
            "settings": dict(settings),
            "lr": self.settings.rate,
            "epochs": self.settings.epochs,
            **about(trained.bundle),
            "seconds": round(trained.seconds),
            **more,
        }
        for split in self.splits:
            if not self.table.has(name, split.source, seed):
                vectors = split.embed(trained.bundle)
                found = split.score(vectors, split.heavy)
                judged = self.judged(split, vectors, found, seed, counterpart=name not in LARGER)
                self.table.add(name, split.source, seed, found, **judged, **told)

    def blended(self, name: str, seed: int) -> None:
        """The same query encoder in a gallery that it has a share in, the best of them on the validation images."""
        row = f"{name}{BLENDED}"
        if not self.settings.blended or self.has(row, seed):
            return
        settings = self.chosen(name)
        bundle = self.train(name, seed, settings).bundle  # which is done already
        light = [split.embed(bundle) for split in self.splits]

        def found(place: int, share: float) -> Scores:
            split = self.splits[place]
            return split.score(light[place], blend_vectors(split.heavy, light[place], share))

        share = max(SHARES, key=lambda share: found(SPLITS.index(VALIDATION), share).means()["map"])
        told = {**self.of_gallery, "settings": dict(settings), "lr": self.settings.rate, "share": share, "of": name}
        for place, split in enumerate(self.splits):
            if not self.table.has(row, split.source, seed):
                self.table.add(row, split.source, seed, found(place, share), **told)

    def train(self, name: str, seed: int, settings: Settings) -> Trained:
        """A query encoder, exported; at once if its training is done."""
        recipe = self.recipe("query.yaml", {**settings, "seed": seed, "schedule.epochs": self.settings.epochs})
        trained = train_query(recipe, self.space, self.runs(name, seed))
        export_bundle(trained.bundle)
        return trained

    def judged(
        self, split: Split, vectors: Vectors, found: Scores, seed: int, *, counterpart: bool
    ) -> dict[str, Any]:
        """M(q,q), retention, gain and flips of a query encoder; no gain where none of its kind was trained freely."""
        flips = flip_rates(split.paragon.values["p@1"], found.values["p@1"])
        free = next(row["metrics"] for row in self.table.of(BASELINE, split.source) if row["seed"] == seed)
        light, own, above = found.means(), split.score(vectors, vectors).means(), self.paragon(split).metrics
        # The gain has the form of the update gain, with the free encoder in the place of the old one.
        gain = {metric: update_gain(light[metric], free[metric], above[metric]) for metric in ("p@1", "map")}
        return {
            "homogeneous": {metric: own[metric] for metric in METRICS},
            "retention": {metric: light[metric] / above[metric] for metric in ("p@1", "map")},
            "gain": gain if counterpart else dict.fromkeys(gain),
            "flips": {"nfr@1": flips.negative, "pfr@1": flips.positive},
        }

    def paragon(self, split: Split) -> Paragon:
        """M(g,g) of the float32 gallery encoder where its card recorded it, else as measured."""
        return paragon_of(self.card, split.source, split.paragon.values)

    def best(self) -> str:
        """The method with the highest mAP on the validation images, with the first seed."""
        source = f"{self.data}:{VALIDATION}"
        rows = {name: row for name in METHODS for row in self.table.of(name, source) if row["seed"] == SEEDS[0]}
        return max(rows, key=lambda name: float(rows[name]["metrics"]["map"]))

    def has(self, name: str, seed: int) -> bool:
        """Whether the rows of both splits are done."""
        return all(self.table.has(name, split.source, seed) for split in self.splits)

    def chosen(self, name: str) -> Settings:
        """The best of the method's settings; those that were not tried yet are tried now."""
        tried = self.settings_of(name)
        for number, settings in enumerate(tried):
            if not self.trials.has(name, self.data, number):
                sys.stderr.write(f"{self.data}, trial {number + 1} of {len(tried)}: {name}\n")
                self.try_out(name, number, settings)
        for trial in self.trials.of(name, self.data):
            number = int(trial["seed"])
            rate = trial.get("lr", self.settings.rate)
            if number >= len(tried) or trial["settings"] != tried[number] or rate != self.settings.rate:
                expected = tried[number] if number < len(tried) else f"{len(tried)} trials"
                raise UsageError(
                    f"'{self.trials.results}' holds trials of '{name}' with other settings",
                    observed=f"{trial['settings']}, learning rate {rate}",
                    expected=f"{expected}, learning rate {self.settings.rate}",
                    hint="Remove those trials, and the rows that follow from them.",
                )
        return tried[int(self.best_trial(name)["seed"])]

    def require_settings(self, names: Sequence[str], settings: Settings) -> None:
        """Refuse rows of other settings: the seeds of one method have to be of one kind.

        Raises:
            UsageError: names the first such row.
        """
        rows = [row for name in names for split in self.splits for row in self.table.of(name, split.source)]
        for row in rows:
            rate = row.get("lr", self.settings.rate)  # that of the data set; older rows do not tell it
            if row["settings"] != settings or rate != self.settings.rate:
                raise UsageError(
                    f"'{self.table.results}' holds a row of '{row['name']}' with other settings",
                    observed=f"{row['settings']}, learning rate {rate} for {row['data']}, seed {row['seed']}",
                    expected=f"{dict(settings)}, learning rate {self.settings.rate}",
                    hint="Remove the rows that were made with other settings.",
                )

    def try_out(self, name: str, number: int, settings: Settings) -> None:
        """One short training, judged on the validation split: M(q,g), or M(q*,q*) of the free encoder."""
        changes = {**settings, "schedule.epochs": self.settings.trial_epochs}
        out = self.runs(f"trial {name}", number)
        if name == BASELINE:
            trained = train_gallery(self.recipe("free.yaml", changes), out)
        else:
            trained = train_query(self.recipe("query.yaml", changes), self.space, out)
        told = {**self.of_gallery, "settings": dict(settings), "lr": self.settings.rate, "validation": trained.best}
        self.trials.note(name, self.data, number, **told)

    def settings_of(self, name: str) -> tuple[Settings, ...]:
        """What is tried of a method; an addition stands beside the anchor's chosen objectives."""
        if name == BASELINE:
            return FREE
        if not name.startswith(f"{ANCHOR} + "):
            return METHODS[name]
        anchor = self.chosen(ANCHOR)["objectives"]
        return tuple({**added, "objectives": {**anchor, **added["objectives"]}} for added in METHODS[name])

    def best_trial(self, name: str) -> dict[str, Any]:
        """The trial with the highest mAP on the validation split; its ``seed`` is the setting's number."""
        return max(self.trials.of(name, self.data), key=lambda row: float(row["validation"]["map"]))

    def recipe(self, file: str, changes: Settings) -> Recipe:
        """A recipe of the data set with some keys changed: evaluated rarely, and in bfloat16 for its speed."""
        recipe = load_config(Recipe, Path(self.settings.configs) / file)
        common = {"schedule.evaluate_every": 5, "precision": "bf16", "align": None}
        own = {key: value for key, value in changes.items() if key != RATE}
        return changed(recipe, {**common, "optimizer.lr": self.settings.rate * changes.get(RATE, 1.0), **own})

    def runs(self, name: str, seed: int) -> Path:
        """Where a training lies."""
        return self.table.runs / self.data / f"{slug(name)}-{seed}"


if __name__ == "__main__":
    run(main)
