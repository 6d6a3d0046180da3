"""Gallery jobs on a disk that runs full while they write: a small tmpfs, filled at many moments.

    python scripts/full_disk.py                           # as root, which may mount a tmpfs; a few minutes
    python scripts/full_disk.py --disk DIR                # an empty folder on a small disk that is there already

``build``, ``update``, ``delete`` and ``compact`` run through the command line, each in a child process that fills the
disk after the n-th file has taken its name, but for a few bytes. Then room is made, and the same command runs again. It
holds if

- the job ends with 1, no traceback, "No space left on device", and the generation that is left; nothing temporary is;
- the gallery then opens as it was before (or says that it is not finished), unless all was written;
- the second run ends with every file byte for byte that of a job on a disk with room;
- a disk that is full from the start is refused with 2 before anything is embedded.

Exit code 1 if any of it does not hold.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from gallery_jobs import AFTER, FACTORY, differences, make_listings, opens, renames

from hetsearch.cli import main as hetsearch
from hetsearch.data.sources import open_source

SOURCE = "fashion-mnist:test"
DISK = 16  # MB
LEFT = (0, 20_000)  # bytes that a full disk still takes: none, or a small file
DONE = {"build": 3, "update": 3, "delete": 0, "compact": 0}  # exit codes; some of the pictures cannot be read
BALLAST = "ballast"


def main() -> int:
    """Run the trials and print what held."""
    options = _options()
    if options.child:
        return _child(options)
    with tempfile.TemporaryDirectory() as temporary, _disk(options.disk) as disk:
        trials = Trials(options, Path(temporary), disk)
        wrong = [line for job in DONE for line in trials.run(job)]
    for line in wrong:
        sys.stdout.write(f"WRONG {line}\n")
    return 1 if wrong else 0


class Trials:
    """Jobs on a disk with room, and what is held against them.

    Args:
        options: of the command line.
        work: an empty folder on a disk with room.
        disk: an empty folder on the small one.
    """

    def __init__(self, options: argparse.Namespace, work: Path, disk: Path) -> None:
        self.options, self.work, self.disk = options, work, disk
        make_listings(open_source(SOURCE), options.limit, work)

    def run(self, job: str) -> list[str]:
        """The job on a disk with room; then again and again, on one that runs full."""
        before, whole = self._before(job), self.work / job
        shutil.copytree(before, whole) if before else None
        writes = int(self._child(job, whole, 0, 0).stdout.splitlines()[-1])
        moments = np.unique(np.linspace(1, writes, num=min(self.options.moments, writes)).round().astype(int)).tolist()
        wrong = [line for at in moments for left in LEFT for line in self._full(job, at, left)]
        wrong += self._full_before(job) if job == "build" else []
        sys.stdout.write(f"{job}: {writes} writes, {len(moments) * len(LEFT)} full disks, {len(wrong)} wrong\n")
        return wrong

    def _full(self, job: str, at: int, left: int) -> list[str]:
        before, whole, out = self._before(job), self.work / job, self.disk / "gallery"
        what = f"{job}, full after write {at} but for {left:,} bytes"
        shutil.copytree(before, out) if before else None
        child = self._child(job, out, at, left)
        state, was = opens(out), opens(before) if before else (0, 0)
        wrong = ["a traceback"] if "Traceback" in child.stderr else []
        if child.returncode == 1:
            wrong += [] if "No space left on device" in child.stderr else ["it does not say so"]
            wrong += [] if state in (was, opens(whole)) else [f"the gallery is then: {state}"]
            said = f"The gallery is whole, in generation {state[0]}" if state[0] else "goes on from what is there"
            wrong += [] if said in child.stderr else [f"not said: {said}"]
        elif child.returncode != DONE[job] or state != opens(whole):
            wrong.append(f"exit code {child.returncode}, and the gallery is: {state}")
        wrong += [f"{path.name} is left" for path in out.rglob("*.tmp")]
        (self.disk / BALLAST).unlink()
        again = self._child(job, out, 0, 0)
        wrong += [] if again.returncode == DONE[job] else [f"then exit code {again.returncode}: {again.stderr[-300:]}"]
        wrong += differences(whole, out)
        shutil.rmtree(out)
        return [f"{what}: {line}: {child.stderr[-300:]}" for line in wrong]

    def _full_before(self, job: str) -> list[str]:
        out = self.disk / "gallery"
        fill(self.disk, LEFT[1])
        child = self._child(job, out, 0, 0)
        (self.disk / BALLAST).unlink()
        shutil.rmtree(out, ignore_errors=True)
        refused = child.returncode == 2 and "has no room for this job" in child.stderr
        return [] if refused else [f"{job} on a full disk: exit code {child.returncode}: {child.stderr[-300:]}"]

    def _before(self, job: str) -> Path | None:
        jobs = list(DONE)
        place = jobs.index(job)
        return self.work / jobs[place - 1] if place else None

    def _child(self, job: str, out: Path, at: int, left: int) -> subprocess.CompletedProcess[str]:
        words = ["--child", job, "--work", self.work, "--out", out, "--encoder", self.options.encoder]
        command = [sys.executable, __file__, *map(str, [*words, "--at", at, "--left", left])]
        return subprocess.run(command, capture_output=True, text=True, check=False)


def fill(disk: Path, left: int) -> None:
    """Write until the disk takes no more, and give a few bytes back."""
    with (disk / BALLAST).open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(4096))
        file.truncate(max(0, file.tell() - left))


def _child(options: argparse.Namespace) -> int:
    """Do a job as the command line does, and print how many files took their names."""
    listing = ["--encoder", options.encoder, "--workers", 0, "--threads", 1, "--images"]
    words = {
        "build": ["build", "--out", options.out, *listing, options.work / "before.csv",
                  "--factory", FACTORY, "--shard-rows", 256],
        "update": ["update", options.out, *listing, options.work / "after.csv"],
        "delete": ["delete", options.out, *(f"key {row:06d}" for row in range(0, 40, 3))],
        "compact": ["compact", options.out],
    }  # fmt: skip
    with renames(options.at, AFTER, lambda: fill(options.out.parent, options.left)) as count:
        try:
            hetsearch(["index", *map(str, words[options.child])])
        finally:
            sys.stdout.write(f"{count[0]}\n")
    return 0


@contextmanager
def _disk(given: Path | None) -> Iterator[Path]:
    """A small disk: the one that is given, or a tmpfs for a while."""
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", place], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--encoder", type=Path, default=Path("zoo/fashion-mnist/query-encoder"), help="bundle")
    parser.add_argument("--limit", type=int, default=2000, help="images")
    parser.add_argument("--moments", type=int, default=8, help="writes of each job after which the disk is full")
    parser.add_argument("--disk", type=Path, help="an empty folder on a small disk; default: a tmpfs that is mounted")
    for name, kind in (("child", str), ("work", Path), ("out", Path), ("at", int), ("left", int)):
        parser.add_argument(f"--{name}", type=kind, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.encoder = options.encoder.absolute()
    if not options.child and not options.disk and os.geteuid():
        parser.error("only root may mount a tmpfs; give the folder of a small disk with --disk")
    return options


if __name__ == "__main__":
    sys.exit(main())
