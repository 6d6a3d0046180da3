"""Embed on a Ray cluster: a pool of workers, each of which takes one shard of the plan at a time.

The listing stays with the job. A worker gets the paths (or pixels) of one shard, embeds them in the batches of the plan
and writes the shard into the folder itself, as a job on one machine does: a job may be begun here and finished there.

The workers are plain actors of Ray and not a pool of Ray Data's. That takes its whole input before it starts: the
listing would lie in the object store, or be made anew by every worker. And it keeps the task of a dead actor for that
actor, to be started again (ray-project/ray, issue 41029), and says nothing of it. Here a lost shard goes to the next
worker that is free, with a word, and one that kills its workers is named. The shards on the disk are the checkpoint.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

from hetsearch.data.images import ImageSet
from hetsearch.errors import HetsearchError, UsageError, require_extra
from hetsearch.gallery.embedding.embed import Done, Embedding, Tally
from hetsearch.gallery.embedding.pool import source_of
from hetsearch.gallery.embedding.ray_worker import Order, Sent, Worker, versions
from hetsearch.gallery.manifest import MANIFEST

ATTEMPTS = 3  # workers that may die at one shard, or in a row at their start
PATIENCE = 60.0  # seconds without a worker, after which the job says that it waits
ANSWER = 5.0  # seconds in which a cluster's port must answer


@dataclass(frozen=True)
class RayRunner:
    """Embeds the shards of a job on a Ray cluster; give it to a job as its ``runner``.

    The folder of the gallery, the encoder's bundle and the images must lie at the same paths on every node.

    Attributes:
        address: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT`` of a cluster; ``local`` starts one in this process. A
            program that is connected already stays with its cluster.
        threads: of the encoder of one worker, which is also the CPUs that Ray sets aside for it. There are as many
            workers as the nodes have room for.
    """

    address: str
    threads: int = 1

    def __call__(self, job: Embedding, missing: Sequence[int], tally: Tally) -> Iterator[tuple[int, Done]]:
        """Give the shards as they are written, in any order; see :func:`hetsearch.gallery.embedding.embed.run_here`.

        Raises:
            UsageError: there is no such cluster, or a node does not see what it needs or has other packages.
            HetsearchError: a shard has killed several workers, or no worker can be started.
            MissingExtra: ray is not installed.
        """
        if not missing:
            return
        with _connected(self.address) as ray, _probe(job) as probe:
            pool = _Pool(ray, job, _order(job, self.threads, probe), missing)
            try:
                for number, done in pool.run():
                    tally.take(len(job.manifest.plan.covered(number)), done[1])
                    yield number, done
            finally:
                pool.close()


class _Pool:
    """Workers, and who of them is at what. A worker that dies is replaced, and its shard goes to whoever is free."""

    def __init__(self, ray: ModuleType, job: Embedding, order: Order, missing: Sequence[int]) -> None:
        options = {"num_cpus": order.threads, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        self._ray, self._job, self._order = ray, job, order
        self._kind = ray.remote(Worker).options(**options)
        self._waiting = deque(missing)
        self._starting: dict[Any, Any] = {}  # what a worker will answer → the worker
        self._working: dict[Any, tuple[Any, int]] = {}  # → the worker and its shard
        self._idle: list[Any] = []
        self._deaths: Counter[int] = Counter()
        self._failed_starts = 0

    def run(self) -> Iterator[tuple[int, Done]]:
        while self._waiting or self._working:
            self._hire()
            while self._idle and self._waiting:
                self._send(self._idle.pop(), self._waiting.popleft())
            ready, _ = self._ray.wait([*self._starting, *self._working], timeout=PATIENCE)
            if not ready and not self._working:
                self._job.say(f"waiting for a node of the cluster that has {self._order.threads} CPU(s) to spare")
            for answer in ready:
                if answer in self._starting:
                    self._started(answer)
                elif (done := self._embedded(answer)) is not None:
                    yield done

    def close(self) -> None:
        """Let all workers go, whatever they are at."""
        for worker in (*self._starting.values(), *self._idle, *(worker for worker, _ in self._working.values())):
            self._dismiss(worker)

    def _dismiss(self, worker: Any) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(worker)

    def _hire(self) -> None:
        """As many workers as the nodes of this moment have room for; one at least, to be waited for."""
        cpus = (node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"])
        room = max(1, sum(int(count // self._order.threads) for count in cpus))
        wanted = min(room, len(self._waiting) + len(self._working))
        for _ in range(wanted - len(self._starting) - len(self._idle) - len(self._working)):
            worker = self._kind.remote(self._order)
            self._starting[worker.start.remote()] = worker

    def _send(self, worker: Any, number: int) -> None:
        images = sent(self._job.images, self._job.manifest.plan.covered(number))
        # Where a worker has died, it may be a picture that did it: in a process of its own it kills no other worker.
        decoders = 1 if self._deaths[number] else 0
        answer = worker.embed.remote(number, images, _witness(images), decoders)
        self._working[answer] = worker, number

    def _started(self, answer: Any) -> None:
        worker = self._starting.pop(answer)
        lost = self._outcome(answer)[1]
        if lost is None:
            self._failed_starts = 0
            self._idle.append(worker)
            return
        self._dismiss(worker)  # it may only be out of reach
        self._failed_starts += 1
        if self._failed_starts == ATTEMPTS:
            raise HetsearchError(
                "no worker can be started on the cluster",
                observed=lost,
                hint="Every node needs the same Python packages: pip install 'hetsearch[gallery,distributed]'.",
            )
        self._job.say(f"a worker could not be started: {lost}")

    def _embedded(self, answer: Any) -> tuple[int, Done] | None:
        worker, number = self._working.pop(answer)
        done, lost = self._outcome(answer)
        if lost is None:
            self._idle.append(worker)
            return number, done
        self._dismiss(worker)
        self._waiting.appendleft(number)
        self._deaths[number] += 1
        covered = self._job.manifest.plan.covered(number)
        first, last = (self._job.images.keys[row] for row in (covered[0], covered[-1]))
        if self._deaths[number] == ATTEMPTS:
            raise HetsearchError(
                f"shard {number} has lost {ATTEMPTS} workers",
                observed=f"{lost}, among the images '{first}' to '{last}'",
                expected="images that can be decoded in the memory of a node",
                hint="What was embedded before is kept, and the same command goes on from there.",
            )
        self._job.say(f"a worker was lost at shard {number}, which is done by another: {lost}")
        return None

    def _outcome(self, answer: Any) -> tuple[Any, str | None]:
        """What a worker answered, or in a few words how it was lost."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(answer), None
        except errors.RayTaskError as error:
            raise error.cause from error
        except errors.RayError as error:
            return None, _brief(error)


@contextlib.contextmanager
def _connected(address: str) -> Iterator[ModuleType]:
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise require_extra("ray", "distributed") from None
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours reports to nobody
    try:
        _require_answer(address)
        ray.init(address, log_to_driver=False, logging_level="ERROR")
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"there is no Ray cluster at '{address}' that this program can join",
            observed=_brief(error),
            expected="auto, HOST:PORT or ray://HOST:PORT of a cluster, or local",
            hint="Start one with: ray start --head",
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Ray itself tries for a minute, and then may end the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()


@contextlib.contextmanager
def _probe(job: Embedding) -> Iterator[Path]:
    """A new file beside the shards, under the name of a temporary one: a job that is killed leaves nothing for long."""
    probe = job.folder.absolute() / f".{MANIFEST}.{os.getpid()}.{uuid4().hex[:8]}.tmp"
    probe.touch()
    try:
        yield probe
    finally:
        probe.unlink(missing_ok=True)


def _order(job: Embedding, threads: int, probe: Path) -> Order:
    folder = getattr(job.encoder, "folder", None)
    if folder is None:
        raise UsageError(f"the encoder '{job.encoder.name}' cannot be sent to a cluster", expected="one with a bundle")
    return Order(Path(folder).absolute(), threads, probe.parent, job.manifest, probe, versions())


def sent(images: ImageSet, rows: range) -> ImageSet:
    """Some of the images, to be sent: a node has other working folders."""
    sources = [source_of(images, row) for row in rows]
    absolute = (str(Path(source).absolute()) if isinstance(source, (str, Path)) else source for source in sources)
    return replace(images.subset(rows), read=Sent(tuple(absolute)))


def _witness(images: ImageSet) -> str | None:
    sources = (source_of(images, row) for row in range(len(images)))
    return next((source for source in sources if isinstance(source, str) and Path(source).is_file()), None)


def _brief(error: Exception) -> str:
    """The first sentence of the last line: Ray's messages go from the trace to the reason, and on to advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].partition(". ")[0][:200] if lines else type(error).__name__
