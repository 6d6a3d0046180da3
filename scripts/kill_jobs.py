"""Kill gallery jobs with SIGKILL at many moments, run them again, and compare with jobs that nobody killed.

    python scripts/kill_jobs.py --images fashion-mnist:test --encoder zoo/fashion-mnist/query-encoder
    python scripts/kill_jobs.py --images fashion-mnist:test --encoder BUNDLE --limit 3000 --kills 50 --random 10

The jobs are ``build``, ``update``, ``delete``, ``compact``, ``upgrade``, ``backfill`` in two steps, ``rollback``; the
newer encoder of these is made up, the one that is given with one component mirrored. A child process runs a job and is
killed before or after the n-th rename, by which every file of a gallery takes its name; n is spread over all renames of
all jobs. Some are killed at a random time instead. Then the same job runs again in this process. It holds if

- in between the gallery opens as it was, or as it became or a step left it, or says that it is not finished;
- afterwards every file is byte for byte that of the job that nobody killed (items, vectors, index), searches give the
  same hits, the failures are the same, and no other file is there;
- no image of a shard that was on the disk was embedded again.

Every other child decodes in a worker process. Exit code 1 if any of it does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gallery_jobs import AFTER, BEFORE, JOBS, Counting, Newer, differences, make_listings, opens, renames, run_job

from hetsearch.data.sources import open_source
from hetsearch.files import write_json
from hetsearch.gallery import open_gallery, verify_gallery
from hetsearch.gallery.card import EMBEDDINGS, read_card
from hetsearch.gallery.embedding.shards import FOOTER
from hetsearch.gallery.manifest import read_manifest
from hetsearch.gallery.tables import read_metadata
from hetsearch.runtime import load_encoder

EMBEDDING = ("build", "update", "backfill")  # these take nearly all the time


@dataclass(frozen=True)
class Kill:
    """One death: of a job, at a rename or (``at`` 0) at a share of the job's time."""

    job: str
    at: int
    moment: str
    share: float = 0.0
    workers: int = 0

    def __str__(self) -> str:
        when = f"{self.moment} write {self.at}" if self.at else f"at {self.share:.0%} of its time"
        return f"{self.job} {when}, {self.workers} worker(s)"


def main() -> int:
    """Run the trials and print what held."""
    options = _options()
    if options.child:
        return _child(options)
    with tempfile.TemporaryDirectory() as temporary:
        trials = Trials(options, Path(options.work or temporary))
        kills = trials.kills(options.kills, options.random)
        for number, kill in enumerate(kills, start=1):
            trials.run(kill)
            sys.stderr.write(f"{number}/{len(kills)} {kill}: {'ok' if trials.rows[-1]['ok'] else 'WRONG'}\n")
        trials.report(options.json)
    return 0 if all(row["ok"] for row in trials.rows) else 1


class Trials:
    """The jobs without a kill, and the kills that are held against them.

    Args:
        options: of the command line.
        work: an empty folder.
    """

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work = options, work
        self.rows: list[dict[str, Any]] = []
        self.encoder = Counting(load_encoder(options.encoder))
        make_listings(open_source(options.images), options.limit, work)
        pictures = [work / "pictures" / f"{row:06d}.png" for row in range(20)]
        self.queries = {one.space: one.encode(pictures) for one in (self.encoder, Newer(self.encoder))}
        self.writes: dict[str, int] = {}
        self.embedded: dict[str, dict[str, int]] = {}
        self.seconds: dict[str, float] = {}
        self.failures: dict[str, Any] = {}
        previous = None
        for job in JOBS:
            out = work / "whole" / job
            if previous:
                shutil.copytree(previous, out)
            begin = time.perf_counter()
            with renames() as count:
                report = run_job(job, work, out, self.encoder, options.shard_rows, 0)
            self.failures[job] = getattr(report, "failures", ())
            self.writes[job], self.seconds[job] = count[0], time.perf_counter() - begin
            self.embedded[job] = _embedded(out, previous)
            verify_gallery(out)
            previous = out

    def kills(self, count: int, at_random: int) -> list[Kill]:
        """``count`` kills spread over the renames of all jobs, and ``at_random`` at random times."""
        writes = [(job, at) for job in JOBS for at in range(1, self.writes[job] + 1)]
        places = [(job, at, moment) for job, at in writes for moment in (BEFORE, AFTER)]
        chosen = np.unique(np.linspace(0, len(places) - 1, num=min(count, len(places))).round().astype(int))
        kills = [
            Kill(job, at, moment, workers=number % 2)
            for number, (job, at, moment) in enumerate(places[place] for place in chosen)
        ]
        rng = random.Random(0)
        jobs = [EMBEDDING[number % len(EMBEDDING)] for number in range(at_random)]
        return kills + [Kill(job, 0, "", rng.random(), number % 2) for number, job in enumerate(jobs)]

    def run(self, kill: Kill) -> None:
        """Kill a job, run it again, compare."""
        whole, out = self.work / "whole" / kill.job, self.work / "killed"
        shutil.rmtree(out, ignore_errors=True)
        before = JOBS.index(kill.job) - 1
        if before >= 0:
            shutil.copytree(self.work / "whole" / JOBS[before], out)
        code = self._killed(kill, out)
        wrong = [] if code == -signal.SIGKILL or not kill.at else [f"the child ended with {code}"]
        state, became = opens(out), opens(whole)
        was = opens(self.work / "whole" / JOBS[before]) if before >= 0 else (0, 0)
        steps = {(generation, became[1]) for generation in range(was[0] + 1, became[0])}
        if state not in {was, became, *steps}:
            wrong.append(f"in between the gallery was: generation {state[0]}, {state[1]} items")
        shards = self.embedded[kill.job].items()
        left = sum(rows for file, rows in shards if not (out / EMBEDDINGS / file).exists())
        self.encoder.images = 0
        report = run_job(kill.job, self.work, out, self.encoder, self.options.shard_rows, 0)
        if self.encoder.images != left:
            wrong.append(f"{self.encoder.images} images were embedded, {left} were left")
        wrong += differences(whole, out)
        query = self.queries[open_gallery(whole).space]
        if open_gallery(out).search(query, 10) != open_gallery(whole).search(query, 10):
            wrong.append("searches differ")
        if getattr(report, "failures", ()) != self.failures[kill.job]:
            wrong.append("the failures differ")
        self.rows.append(
            {"kill": str(kill), "job": kill.job, "left": left, "wrong": wrong, "ok": not wrong, "exit": code}
        )

    def _killed(self, kill: Kill, out: Path) -> int:
        words = ["--child", kill.job, "--work", self.work, "--out", out, "--encoder", self.options.encoder]
        words += ["--shard-rows", self.options.shard_rows, "--workers", kill.workers]
        words += ["--at", kill.at, "--moment", kill.moment or BEFORE]
        command = [sys.executable, __file__, *map(str, words)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()  # it is loaded and starts now
            if not kill.at:
                time.sleep(kill.share * self.seconds[kill.job])
                child.kill()
            child.communicate()
        return child.returncode

    def report(self, path: Path | None) -> None:
        """Print the count by job, and what did not hold."""
        for job in JOBS:
            mine = [row for row in self.rows if row["job"] == job]
            held = sum(row["ok"] for row in mine)
            sys.stdout.write(f"{job}: {self.writes[job]} writes, {len(mine)} kills, {held} held\n")
        for row in self.rows:
            if not row["ok"]:
                sys.stdout.write(f"WRONG {row['kill']}: {'; '.join(row['wrong'])}\n")
        if path:
            write_json(path, {"writes": self.writes, "seconds": self.seconds, "kills": self.rows})


def _embedded(out: Path, before: Path | None) -> dict[str, int]:
    """The rows of each shard that is new since ``before`` and was embedded, not copied: it says for which job."""
    manifest = read_manifest(out / EMBEDDINGS, read_card(out).generation)
    new = [entry for entry in manifest.shards if not (before and (before / EMBEDDINGS / entry.file).exists())]
    footers = {entry.file: read_metadata(out / EMBEDDINGS / entry.file, FOOTER) or "{}" for entry in new}
    return {entry.file: entry.rows for entry in new if json.loads(footers[entry.file])["job"]}


def _child(options: argparse.Namespace) -> int:
    encoder = load_encoder(options.encoder)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with renames(options.at, options.moment, lambda: os.kill(os.getpid(), signal.SIGKILL)):
        run_job(options.child, options.work, options.out, encoder, options.shard_rows, options.workers)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", help="real pictures: a folder, a manifest, NAME:SPLIT")
    parser.add_argument("--encoder", type=Path, required=True, help="encoder bundle")
    parser.add_argument("--limit", type=int, default=3000, help="images")
    parser.add_argument("--shard-rows", type=int, default=256, help="images that a shard covers")
    parser.add_argument("--kills", type=int, default=50, help="kills at a rename, spread over all jobs")
    parser.add_argument("--random", type=int, default=10, help="kills at a random time")
    parser.add_argument("--work", type=Path, help="an empty folder to work in; default: a temporary one")
    parser.add_argument("--json", type=Path, help="write every kill and what came of it to this file")
    for name, kind in (("child", str), ("out", Path), ("at", int), ("moment", str), ("workers", int)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
