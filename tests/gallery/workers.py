"""Workers of a cluster that do as a test wants. A module of its own: the nodes import it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import ray

from hetsearch.data.images import ImageSet
from hetsearch.gallery.embedding.embed import Done
from hetsearch.gallery.embedding.ray_worker import Order, Worker


def desk(order: Order) -> Path:
    """Where tests and workers leave notes for each other: beside the gallery."""
    return order.folder.parents[1]


class Noting(Worker):
    """It notes each shard, and whether it found it written."""

    def embed(self, number: int, images: ImageSet, witness: str | None, decoders: int) -> Done:
        path = self._order.folder / f"shard-{number:05d}.parquet"
        before = path.stat().st_ino if path.exists() else None
        done = super().embed(number, images, witness, decoders)
        with (desk(self._order) / "notes").open("a") as notes:
            notes.write(f"{number} {'kept' if path.stat().st_ino == before else 'made'}\n")
        return done


class Mortal(Noting):
    """The first that comes to a second shard is killed when it has written it, whole or not."""

    shards = 0
    in_the_middle = False

    def embed(self, number: int, images: ImageSet, witness: str | None, decoders: int) -> Done:
        self.shards += 1
        doomed = self.shards == 2 and self._first()
        if doomed and self.in_the_middle:
            os.replace = _die  # the temporary file is there and has not got its name
        done = super().embed(number, images, witness, decoders)
        return _die() if doomed else done

    def _first(self) -> bool:
        try:
            (desk(self._order) / "killed").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class MortalInTheMiddle(Mortal):
    in_the_middle = True


class Stranded(Noting):
    """On the node that a test will take away it waits for ever, and the others wait until it does."""

    def embed(self, number: int, images: ImageSet, witness: str | None, decoders: int) -> Done:
        lost, stranded = (desk(self._order) / "lost").read_text(), desk(self._order) / "stranded"
        if ray.get_runtime_context().get_node_id() == lost:
            stranded.touch()
            signal.pause()
        while not stranded.exists():
            time.sleep(0.02)
        return super().embed(number, images, witness, decoders)


def _die(*arguments: object) -> Done:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


class Explosive:
    """A picture that ends the process that decodes it."""

    @property
    def dtype(self) -> object:
        os._exit(9)
