"""Table "architecture search": what a search for compatibility is worth beside chance and beside other networks.

    OMP_NUM_THREADS=1 python scripts/table_nas.py --only fashion-mnist &   # everything that is missing: a core for each
    OMP_NUM_THREADS=1 python scripts/table_nas.py --only emoji
    python scripts/table_nas.py --only fashion-mnist --parts search others --seeds 0
    python scripts/table_nas.py --words                   # results/nas.md and nas.svg from the rows that are there

Parts, each resuming row by row:

search   one supernet; searches by R1, R2 and R3 and a random one (by R3) at equal cost, the best few of each in a race
         of short trainings; each race's winner trained from scratch with every seed, M(q, g) on the test images
free     as R1, but with a supernet that was trained without compatibility: a search as usual
others   the compact hybrid, MobileNetV3-Small and ShuffleNetV2 with the same recipe; the last two at the largest input
         size that keeps the budget
small    a winner at 80 times fewer MACs than the gallery encoder; FashionMNIST's first budget is below that
sampled  architectures drawn evenly over the MACs below the budget, each trained from scratch by the recipe, by the
         frozen classifier alone (BCT) and without compatibility, never aligned; their rewards in the supernet

All but the last train every network at a learning rate of its own: from the recipe's on, doubled or halved as long as a
short training of it is better, by M(q, g) mAP on the validation split for all alike, whatever the reward.

About 5.6 hours of one core for FashionMNIST, 3.6 for emoji (``OMP_NUM_THREADS=1 python scripts/estimate_nas.py``). So
trainings are short and architectures by chance are few: see ``DATA`` and ``--sampled``. What ``hetsearch nas run
configs/nas/NAME.yaml --space zoo/NAME --out runs/nas/NAME/NAME`` trained and measured before is taken from there. Two
processes may share the work, as long as each has its own part.

The gallery encoders are the released ones, zoo/NAME, with their int8 weights. That the paper's (arXiv 2105.06047) three
rewards are these is remembered and was not confirmed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measured import Split
from nas_picture import draw_networks
from nas_words import COMMAND, FREE_NAME, HYBRID, NAMES, OTHERS, REWARD_KINDS, SEEDS, SMALL_NAME, TERMS, write_words
from tables import Table, about, run, slug

from hetsearch.config import changed, load_config
from hetsearch.errors import UsageError
from hetsearch.evaluation.result import METRICS
from hetsearch.evaluation.verdict import paragon_of
from hetsearch.export import export_bundle
from hetsearch.models.cost import count_macs
from hetsearch.models.network import build_network
from hetsearch.nas.config import NasConfig
from hetsearch.nas.costs import MACS, Budget
from hetsearch.nas.job import Job
from hetsearch.nas.rate import climb
from hetsearch.nas.rewards import Scorer, reward_of
from hetsearch.nas.sampling import PathSampler, SamplingConfig
from hetsearch.nas.search import Found, draw_all, evolve
from hetsearch.runtime import load_encoder
from hetsearch.runtime.threads import available_threads
from hetsearch.training.query import train_query
from hetsearch.training.recipe import Recipe

SEARCH, SMALL = "search", "small"  # columns that tell a row's search, by its configuration
PARTS = ("search", "free", "others", "small", "sampled")
SAMPLED = 8  # architectures; their correlations come with intervals, which are wide
DRAW = 0x7AB  # seed of their draw
# No compatibility: paper A's objectives and rate; the recipe's rate is that of a regression.
FREE: Mapping[str, Any] = {
    "objectives": {"classification": {}, "multi_similarity": {"weight": 0.5}},
    "optimizer.lr": 0.004,
}
SIDES = range(224, 24, -4)  # input sizes that are tried, the largest first


@dataclass(frozen=True)
class Benchmark:
    """One data set."""

    config: Path
    space: Path
    small: Path | None  # the search at 80 times fewer MACs; None where the first one's budget is below that
    epochs: int  # of each training but the small one's, fewer than the configuration's
    sampled_epochs: int  # of the architectures by chance
    margin: float  # of the frozen classifier, and the rate, as results/compatibility.json has chosen them
    bct_rate: float
    rate_epochs: int  # of the trials of a learning rate


DATA = {
    "fashion-mnist": Benchmark(
        Path("configs/nas/fashion-mnist.yaml"),
        Path("zoo/fashion-mnist"),
        None,
        epochs=6,
        sampled_epochs=3,
        margin=0.3,
        bct_rate=0.016,
        rate_epochs=2,
    ),
    "emoji": Benchmark(
        Path("configs/nas/emoji.yaml"),
        Path("zoo/emoji"),
        Path("configs/nas/emoji-80.yaml"),
        epochs=30,
        sampled_epochs=15,
        margin=0.15,
        bct_rate=0.008,
        rate_epochs=10,
    ),
}


def main() -> None:
    """Make what is missing, then the words."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=DATA, default=list(DATA), help="data sets")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--sampled", type=int, default=SAMPLED, help="architectures of the part 'sampled'")
    parser.add_argument("--runs", type=Path, default=Path("runs/nas"), help="folder of the trainings")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="keys of the search's configuration")
    parser.add_argument("--words", action="store_true", help="only write the Markdown and the picture")
    given = parser.parse_args()
    table = Table(given.results / "nas.json", given.runs, COMMAND)
    for data in [] if given.words else given.only:
        bench = Bench(data, table, [f"--{pair}" for pair in given.set])
        bench.paragon()
        for part in given.parts:
            if part == "sampled":
                bench.sampled(given.sampled)
            else:
                for seed in given.seeds:
                    getattr(bench, part)(seed)
            _tell(table)
    _tell(table)


def _tell(table: Table) -> None:
    """The words and the picture, beside the rows."""
    write_words(table, list(DATA), table.results.with_suffix(".md"))
    draw_networks(table, list(DATA), table.results.with_suffix(".svg"))


class Bench:
    """One data set, its gallery encoder and its searches."""

    def __init__(self, data: str, table: Table, overrides: list[str]) -> None:
        self.data, self.table, self.settings, self.overrides = data, table, DATA[data], overrides
        self.config = load_config(NasConfig, self.settings.config, overrides)
        if self.config.test is None:
            raise UsageError(f"'{self.settings.config}' names no test images", expected="test: SRC")
        self.source = self.config.test
        self.gallery = load_encoder(self.settings.space / "gallery-encoder", threads=available_threads())
        table.require_same(self.source, "space", self.gallery.space, what="gallery encoder")
        for name, config in {SEARCH: self.settings.config, SMALL: self.settings.small}.items():
            if config is not None:
                table.require_same(self.source, name, self._identity(config), what="configuration")
        self.trials = f"{self.settings.rate_epochs} epochs"
        table.require_same(self.source, "trials", self.trials, what="way to a learning rate", always=NAMES)
        self.split = Split(self.source, self.gallery)
        self._jobs: dict[Path, tuple[Job, Path]] = {}

    def paragon(self) -> None:
        """M(g, g), as measured with the gallery encoder's weights and as its card recorded it in float32."""
        if not self.table.has("M(g,g)", self.source, 0):
            folder, found = self.settings.space / "gallery-encoder", self.split.paragon
            true = paragon_of(self.gallery.card, self.source, found.values)
            more = {"paragon": true.metrics, "paragon_source": true.source, "space": self.gallery.space}
            self.table.add("M(g,g)", self.source, 0, found, **more, **about(folder))

    def search(self, seed: int) -> None:
        """The winners of the searches at equal cost."""
        for reward in REWARD_KINDS:
            self.winner(reward, self.settings.config, seed, reward=reward, method=evolve)
        self.winner("random", self.settings.config, seed, reward="R3", method=draw_all)

    def free(self, seed: int) -> None:
        """The winner of a search as usual, which knows nothing of the gallery encoder; trained as all others."""
        self.winner(FREE_NAME, self.settings.config, seed, reward="R1", method=evolve, supernet=FREE)

    def small(self, seed: int) -> None:
        """The winner at 80 times fewer MACs; on FashionMNIST the first search's is."""
        if self.settings.small is not None:
            self.winner(SMALL_NAME, self.settings.small, seed, reward="R3", method=evolve)

    def others(self, seed: int) -> None:
        """Networks that nobody searched."""
        for name, encoder in OTHERS.items():
            if not self.table.has(name, self.source, seed):
                recipe = changed(self.config.recipe, {"encoder": {**encoder, "dim": self.config.recipe.encoder.dim}})
                if name != HYBRID:
                    recipe = fitted(recipe, self.config.budget)
                self.row_at_best_rate(name, slug(name), _shorter(recipe, self.settings.epochs), seed)

    def sampled(self, count: int) -> None:
        """Architectures by chance: stand-alone by each of ``TERMS``, and in the supernet."""
        job, supernet = self.job(self.settings.config, {})
        sampler = PathSampler(job.paths, SamplingConfig(widths_from=0, widths_by=0), self.config.budget, DRAW)
        names = [sampler.path(number, count) for number in range(count)]
        with closing(self.scorer(job, supernet, "R3")) as scorer:
            scorer.rewards(names)
        for name in dict.fromkeys(names):
            rewards = {
                kind: reward_of(scorer.known[name], self.config.reward.model_copy(update={"kind": kind}))
                for kind in REWARD_KINDS
            }
            # Aligned with the gallery's class means, even a network that learnt nothing of the gallery finds in it.
            recipe = _shorter(changed(self.config.winner_recipe(name), {"align": None}), self.settings.sampled_epochs)
            for terms, changes in zip(TERMS, ({}, self.bct(), FREE), strict=True):
                title = f"{terms} {name}"
                if not self.table.has(title, self.source, 0):
                    self.row(title, slug(title), changed(recipe, changes), 0, supernet=rewards)

    def bct(self) -> dict[str, Any]:
        """The changes that make the recipe backward-compatible training."""
        objectives = {"frozen_classifier": {"margin": self.settings.margin}}
        return {"objectives": objectives, "optimizer.lr": self.settings.bct_rate}

    def winner(
        self,
        name: str,
        config: Path,
        seed: int,
        *,
        reward: str,
        method: Callable[..., Found],
        supernet: Mapping[str, Any] | None = None,
    ) -> None:
        """Search, once for all seeds, and train what was found; nothing where the row is there.

        Args:
            name: of the row.
            config: of the search.
            seed: of the last training.
            reward: by which it searches.
            method: how.
            supernet: changes of its training.
        """
        if self.table.has(name, self.source, seed):
            return
        job, weights = self.job(config, supernet or {})
        evolution, search_seed = job.config.search.evolution, job.config.search.seed
        total = evolution.population * evolution.generations
        with closing(self.scorer(job, weights, reward)) as scorer, scorer.running(f"{self.data} {name}", total):
            found = method(job.paths, job.config.budget, scorer.rewards, evolution, seed=search_seed)
        best = job.final(found, changed(job.config.reward, {"kind": reward}))[0]
        told = {"arch": best.arch, "reward": best.reward, "alone": best.alone, "measured": len(found.rewards)}
        recipe, of = job.config.winner_recipe(best.arch), SMALL
        if config != self.settings.small:
            recipe, of = _shorter(recipe, self.settings.epochs), SEARCH
        # Two searches that found the same share its training.
        self.row_at_best_rate(name, slug(f"{config.stem} {best.arch}"), recipe, seed, of=of, **told)

    def row_at_best_rate(self, name: str, folder: str, recipe: Recipe, seed: int, **told: Any) -> None:
        """A row at the network's own learning rate, by M(q, g) mAP on the validation split after short trainings."""

        def measure(rate: float) -> float:
            sys.stderr.write(f"{self.data}, learning rate {rate:g}: {name}\n")
            tried = _shorter(changed(recipe, {"optimizer.lr": rate}), self.settings.rate_epochs)
            out = self.table.runs / self.data / f"{folder}-rate-{rate:g}"
            return train_query(tried, self.settings.space, out).best["map"]

        same = [row for row in self.table.of(name, self.source) if row.get("arch") == told.get("arch")]
        if same:  # another seed of this network
            best, rates = same[0]["lr"], same[0]["rates"]
        else:
            climbed = climb(recipe.optimizer.lr, measure)
            best, rates = next(iter(climbed)), {f"{rate:g}": worth for rate, worth in climbed.items()}
        self.row(name, folder, changed(recipe, {"optimizer.lr": best}), seed, trials=self.trials, rates=rates, **told)

    def row(self, name: str, folder: str, recipe: Recipe, seed: int, *, of: str = SEARCH, **told: Any) -> None:
        """Train one network in a folder of the runs, measure M(q, g) and M(q, q).

        Args:
            name: of the row.
            folder: of the training, without rate and seed.
            recipe: of the training, but for the seed.
            seed: of the training.
            of: the search whose configuration the row depends on.
            told: further columns.
        """
        sys.stderr.write(f"{self.data}, seed {seed}: {name}\n")
        out = self.table.runs / self.data / f"{folder}-{recipe.optimizer.lr:g}-{seed}"
        trained = train_query(changed(recipe, {"seed": seed}), self.settings.space, out)
        export_bundle(trained.bundle)
        vectors = self.split.embed(trained.bundle)
        own = self.split.score(vectors, vectors).means()
        more = {**about(trained.bundle), "seconds": round(trained.seconds), **told}
        more["homogeneous"] = {metric: own[metric] for metric in METRICS}
        config = self.settings.small if of == SMALL else self.settings.config
        assert config is not None  # a row of the small search comes from one
        more |= {"space": self.gallery.space, of: self._identity(config), "input": recipe.input.size}
        more |= {"epochs": recipe.schedule.epochs, "lr": recipe.optimizer.lr, "validation": trained.best}
        self.table.add(name, self.source, seed, self.split.score(vectors, self.split.heavy), **more)

    def _identity(self, config: Path) -> str:
        """Of all settings that a row depends on."""
        loaded = load_config(NasConfig, config, self.overrides)
        settings = loaded.model_dump(mode="json", exclude={"search": {"processes", "learning_rate"}})
        told = json.dumps([settings, self.settings.epochs, self.settings.sampled_epochs], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def job(self, config: Path, supernet: Mapping[str, Any]) -> tuple[Job, Path]:
        """A search with its supernet, trained with these changes."""
        folder = self.table.runs / self.data / (f"{config.stem}-free" if supernet else config.stem)
        if folder not in self._jobs:
            loaded = load_config(NasConfig, config, self.overrides)
            checked = changed(loaded, {f"supernet.changes.{key}": value for key, value in supernet.items()})
            job = Job(checked, self.settings.space, folder)
            self._jobs[folder] = job, job.train()
        return self._jobs[folder]

    def scorer(self, job: Job, supernet: Path, kind: str) -> Scorer:
        """What measures architectures; all rewards share what was measured."""
        reward = changed(job.config.reward, {"kind": kind})
        return Scorer(supernet, job.judge, reward, job.out, job.config.search.processes or available_threads())


def fitted(recipe: Recipe, budget: Budget) -> Recipe:
    """The recipe at the largest input size that keeps the budget of MACs."""
    most = budget.limits[MACS]
    for side in SIDES:
        shift = round(recipe.augmentation.shift * side / recipe.input.size)  # the same share of the picture
        smaller = changed(recipe, {"input.size": side, "augmentation.shift": shift})
        encoder = smaller.encoder
        network = build_network(encoder.architecture, encoder.arguments, dim=encoder.dim, spec=smaller.input)
        if count_macs(network) <= most:
            return smaller
    asked = recipe.encoder.architecture
    raise UsageError("no input size keeps the budget", observed=asked, expected=f"at most {most:,.0f} MACs")


def _shorter(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with so many epochs, measured after the last: without the compatibility terms chance would choose."""
    return changed(recipe, {"schedule.epochs": epochs, "schedule.evaluate_every": epochs})


if __name__ == "__main__":
    run(main)
