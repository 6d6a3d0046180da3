"""The search as one job: what it reads, what it writes, ``nas.json``.

A run's folder holds ``supernet/``, ``scores-….jsonl`` (every architecture that was measured), ``latencies.json`` where
the budget names a latency, ``final/`` with the short trainings of the best few, ``rate/`` with those of the winner at
several learning rates, ``nas.json`` (what was searched and found), ``front.json`` with a picture where NSGA-II ran, and
``winner.yaml``, the recipe that trains the winner.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hetsearch.bundle import ONNX
from hetsearch.config import first_difference
from hetsearch.data.sources import open_source
from hetsearch.errors import ConfigError, UsageError
from hetsearch.files import make_folder, read_json, sha256_of, write_json, write_text
from hetsearch.nas.config import NasConfig, RewardConfig
from hetsearch.nas.costs import BYTES, LATENCY, MACS, as_dict
from hetsearch.nas.costs import Path as Architecture
from hetsearch.nas.final import Finalist, hold_final
from hetsearch.nas.folder import require_supernet
from hetsearch.nas.latency import LatencyError, LatencyTable, measure_latencies
from hetsearch.nas.pareto import front_of, pareto_search, require_pymoo
from hetsearch.nas.paths import Paths
from hetsearch.nas.picture import draw_front
from hetsearch.nas.rate import find_rate
from hetsearch.nas.rewards import Judge, Scorer
from hetsearch.nas.search import Found, draw_all, evolve
from hetsearch.nas.train import open_search, train_supernet
from hetsearch.runtime import load_encoder
from hetsearch.runtime.threads import available_threads
from hetsearch.runtime.timing import median_ms
from hetsearch.space import require_space
from hetsearch.training.images import check_decides
from hetsearch.training.joining import Joining

SCHEMA = 1
REPORT, FRONT, WINNER, PICTURE = "nas.json", "front.json", "winner.yaml", "front.svg"
SUPERNET, FINAL, RATE, TRAINED = "supernet", "final", "rate", "winner"  # folders
TOP = 10
REWARDS = {
    "R1": "M(q, q)",
    "R2": "M(q, g)",
    "R3": "M(q, q) · M(q, g), as the paper (arXiv 2105.06047) is remembered; not confirmed by a source",
}


@dataclass(frozen=True)
class Searched:
    """What a search found.

    Attributes:
        winner: the string of the best architecture of all that were measured, after the final.
        rate: the learning rate that was found for it; None where none was looked for.
        report: the path of ``nas.json``.
        recipe: the path of ``winner.yaml``, which trains the winner.
        front: the paths of ``front.json`` and ``front.svg``, as far as NSGA-II ran and something can draw here.
        methods: for each method its best, the reward of that and how many architectures it measured.
        rows: its table of the best, one dictionary an architecture, the winner first.
    """

    winner: str
    rate: float | None
    report: Path
    recipe: Path
    front: tuple[Path, ...]
    methods: dict[str, dict[str, Any]]
    rows: list[dict[str, Any]]


class Job:
    """A search whose configuration, space and images were found right.

    Args:
        config: the search.
        space_folder: the space of embeddings, or a folder that holds ``space/``.
        out: folder of the run.
        gallery_encoder: its bundle; default ``gallery-encoder`` beside the space.

    Raises:
        UsageError: nothing keeps the budget, or nothing can be written into ``out``.
        ConfigError, DataError, SpaceMismatch, MissingExtra: as of :func:`open_search`, or pymoo is missing, or nothing
            can be measured on the test images.
    """

    def __init__(self, config: NasConfig, space_folder: Path, out: Path, gallery_encoder: Path | None = None) -> None:
        self.config, self.out = config, out
        if config.search.pareto is not None:
            require_pymoo()
        if config.test is not None:
            check_decides(open_source(config.test))
        self.joining: Joining
        self.paths: Paths
        self.joining, self.paths = open_search(config, space_folder, gallery_encoder)
        self.error: LatencyError | None = None
        self.judge = Judge.of(self.joining, config.reward)
        make_folder(out)
        if config.budget.latency_ms is not None:
            table = LatencyTable(out / "latencies.json")
            self.paths.costs, self.error = measure_latencies(
                self.paths, config.budget, table, seed=config.search.seed
            )
            sys.stderr.write(f"{self.error.sentence()}\n")
            config.budget.check(self.paths.costs)

    @property
    def supernet(self) -> Path:
        """Folder of the run's own supernet."""
        return self.out / SUPERNET

    @property
    def winner(self) -> Path:
        """Folder for the training of the winner."""
        return self.out / TRAINED

    def train(self) -> Path:
        """Train the supernet, or go on with it; its folder."""
        train_supernet(self.config, self.joining, self.paths, self.judge, self.supernet)
        return self.supernet

    def search(self, supernet: Path) -> Searched:
        """Search, and write what was found.

        Args:
            supernet: its folder, the run's own or another.

        Raises:
            UsageError: no supernet lies there, or ``accelerate launch`` began several of these.
            ConfigError: it is of another search space or budget, or the folder of the run holds another search.
            SpaceMismatch: it is of another space.
        """
        self.check_searches()
        card = require_supernet(supernet, self.config, self.joining.reference.space.id)
        search = self.config.search
        processes = search.processes or available_threads()
        with closing(Scorer(supernet, self.judge, self.config.reward, self.out, processes)) as scorer:
            found = self._methods(scorer)
            # Whoever found it: what was measured is known, and chance may have been lucky.
            every = Found({path: reward for one in found.values() for path, reward in one.rewards.items()})
            finalists = self.final(every, self.config.reward)
            winner = finalists[0].arch
            trials = find_rate(self.config, self.joining, winner, self.out / RATE, self.out / FINAL)
            rate = trials[0].rate if trials else None
            recipe = self.config.winner_recipe(winner, rate)
            top = self._rows(scorer, every, finalists)
            methods = {name: self._summary(one) for name, one in found.items()}
            document = {
                "schema": SCHEMA,
                "settings": self._settings(),
                "space": self.joining.reference.space.id,
                "winner": winner,
                "lr": recipe.optimizer.lr,
                "reward": {**self.config.reward.model_dump(), "means": REWARDS[self.config.reward.kind]},
                "budget": self.config.budget.model_dump(exclude_none=True),
                "validation": self.joining.validation.images.name,
                "seed": search.seed,
                "final": None if search.final is None else [asdict(one) for one in finalists],
                "rates": None if search.learning_rate is None else [asdict(one) for one in trials],
                "methods": methods,
                "top": top,
                "architectures": self.paths.count,
                "search_space": self.config.search_space.model_dump(mode="json"),
                "input": self.config.recipe.input.model_dump(mode="json"),
                "dim": self.paths.dim,
                "supernet": card.model_dump(mode="json", include={"steps", "validation", "recipe"}),
                "latency_error": None if self.error is None else asdict(self.error),
                # Work over all starts: trainings as they ran, measuring as one process would take.
                "seconds": {
                    "supernet": card.seconds,
                    "measuring": round(scorer.seconds, 1),
                    "final": round(sum(one.seconds for one in finalists), 1),
                    "rates": round(sum(one.seconds for one in trials), 1),
                },
            }
            for name in (FRONT, PICTURE):
                (self.out / name).unlink(missing_ok=True)
            if "nsga2" in found:
                self._write_front(scorer, found["nsga2"])
        write_text(self.out / WINNER, yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
        names = [name for name in (WINNER, FRONT) if (self.out / name).is_file()]
        document["files"] = {name: sha256_of(self.out / name) for name in names}
        write_json(self.out / REPORT, document)
        front = tuple(self.out / name for name in (FRONT, PICTURE) if (self.out / name).is_file())
        return Searched(winner, rate, self.out / REPORT, self.out / WINNER, front, methods, top)

    def final(self, found: Found, reward: RewardConfig) -> list[Finalist]:
        """The best few of a search after short trainings of their own, the winner first."""
        return hold_final(self.config, reward, self.joining, self.paths, found, self.out / FINAL)

    def compare_with_budget(self, bundle: Path) -> list[str]:
        """What the exported winner costs where a budget rests on sums: a sentence for its file, one for its latency.

        Args:
            bundle: the winner's, with its ONNX file.
        """
        budget, encoder = self.config.budget, load_encoder(bundle, threads=1)
        said = []
        if budget.bytes is not None:
            weights, file = encoder.card.params * BYTES, (bundle / ONNX).stat().st_size
            said.append(f"budget of bytes {budget.bytes:,.0f}: the weights take {weights:,}, {ONNX} {file:,}")
        if budget.latency_ms is not None:
            spec = encoder.card.input
            image = np.zeros((1, spec.channels, spec.size, spec.size), np.uint8)
            timed = median_ms(lambda: encoder.encode_pixels(image))
            table = self.paths.costs.of([self.paths.read(encoder.card.arguments["arch"])])[0, LATENCY]
            asked = f"budget of latency_ms {budget.latency_ms:.4f}"
            said.append(f"{asked}: the table says {table:.4f}, the encoder takes {timed:.4f}")
        return said

    def check_searches(self) -> None:
        """Refuse a search that cannot be made here, or not be written into the folder of the run.

        Raises:
            UsageError: ``accelerate launch`` began several of these.
            SpaceMismatch, ConfigError: as of :meth:`check`.
        """
        self.check()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UsageError(
                "a search is one process, which starts its own",
                observed=f"{os.environ['WORLD_SIZE']} processes of accelerate",
                hint="Train the supernet with 'accelerate launch … nas train', then search without accelerate.",
            )

    def check(self) -> None:
        """Refuse a folder of another search.

        Raises:
            SpaceMismatch: the folder holds a search for another space.
            ConfigError: it holds another search.
        """
        if (self.out / REPORT).is_file():
            known = read_json(self.out / REPORT, what="a search", schema=SCHEMA).get("settings", {})
            if known != (own := self._settings()):
                space = own["space"]
                require_space(space, known.get("space", space), what=f"the space and the search in '{self.out}'")
                there, here = first_difference(known, own)
                raise ConfigError(
                    f"'{self.out}' holds a search with other settings",
                    observed=here,
                    expected=there,
                    hint="Give another --out; 'nas search --supernet' takes the supernet that is there.",
                )

    def _settings(self) -> dict[str, Any]:
        """The space, and all settings that what is found depends on."""
        settings = self.config.model_dump(mode="json", exclude={"search": {"processes"}, "test": True})
        if self.config.search.learning_rate is None:
            del settings["search"]["learning_rate"]  # searches from before there was the key go on
        return {"space": self.joining.reference.space.id, **settings}

    def _methods(self, scorer: Scorer) -> dict[str, Found]:
        search, paths, budget = self.config.search, self.paths, self.config.budget
        evolution, pareto = search.evolution, search.pareto
        total = evolution.population * evolution.generations
        found = {}
        with scorer.running("evolution", total):
            found["evolution"] = evolve(paths, budget, scorer.rewards, evolution, seed=search.seed)
        with scorer.running("random", total):
            found["random"] = draw_all(paths, budget, scorer.rewards, evolution, seed=search.seed)
        if pareto is not None:
            with scorer.running("NSGA-II", pareto.population * pareto.generations):
                found["nsga2"] = pareto_search(paths, budget, scorer.rewards, pareto, seed=search.seed)
        return found

    def _summary(self, found: Found) -> dict[str, Any]:
        best = found.best(self.paths, 1)[0]
        return {
            "arch": self.paths.spell(best),
            "reward": found.rewards[best],
            "macs": int(self.paths.costs.of([best])[0, MACS]),
            "measured": len(found.rewards),
            "history": found.history,
        }

    def _rows(self, scorer: Scorer, found: Found, finalists: list[Finalist]) -> list[dict[str, Any]]:
        """The finalists, the winner first, and whoever else is among the best by the supernet's weights."""
        alone = {one.arch: one.alone for one in finalists}
        best = [path for path in found.best(self.paths, TOP) if self.paths.spell(path) not in alone]
        rows = [
            self._row(scorer, path, found.rewards[path]) for path in [*map(self.paths.read, alone), *best]
        ]
        return rows if self.config.search.final is None else [{"alone": alone.get(row["arch"]), **row} for row in rows]

    def _row(self, scorer: Scorer, path: Architecture, reward: float) -> dict[str, Any]:
        name = self.paths.spell(path)
        return {"arch": name, "reward": reward, **scorer.known[name], **as_dict(self.paths.costs.of([path])[0])}

    def _write_front(self, scorer: Scorer, found: Found) -> None:
        rows = [self._row(scorer, path, found.rewards[path]) for path in front_of(self.paths, found)]
        points = [(row["macs"], row["reward"]) for row in rows]
        every = [(float(self.paths.costs.of([path])[0, MACS]), reward) for path, reward in found.rewards.items()]
        write_json(self.out / FRONT, {"schema": SCHEMA, "reward": self.config.reward.kind, "front": rows})
        if not draw_front(points, every, self.config.reward.kind, self.out / PICTURE):
            sys.stderr.write("no picture of the front: install it with pip install 'hetsearch[report]'\n")
