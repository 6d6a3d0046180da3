"""A worker on a node of a cluster: it embeds one shard at a time; :mod:`hetsearch.gallery.embedding.ray_embed`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import hetsearch
from hetsearch.data.images import ImageSet
from hetsearch.data.reading import Source
from hetsearch.errors import DamagedArtifact, ImageError, UsageError
from hetsearch.gallery.embedding.decode import iter_decoded
from hetsearch.gallery.embedding.embed import Done, encode_shard
from hetsearch.gallery.embedding.shards import recover_shard, write_shard
from hetsearch.gallery.manifest import Manifest, weights_of
from hetsearch.preprocess import ImageLike
from hetsearch.runtime.encoder import Encoder
from hetsearch.runtime.onnx_encoder import load_encoder

PACKAGES = ("numpy", "onnxruntime", "pillow", "pyarrow")


@dataclass(frozen=True)
class Order:
    """What every worker is told.

    Attributes:
        bundle: the encoder's folder.
        threads: of the encoder.
        folder: of the shards.
        manifest: holds the plan.
        probe: a file that only those see who see the same folder.
        versions: of the packages that the bytes of a shard depend on.
    """

    bundle: Path
    threads: int
    folder: Path
    manifest: Manifest
    probe: Path
    versions: dict[str, str]


class Worker:
    """Embeds shards on a node: one process, one encoder."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def start(self) -> str:
        """Look whether this node can do the job, and load the encoder; the node's name comes back.

        Raises:
            UsageError: it cannot.
            DamagedArtifact: the encoder's bundle was changed.
        """
        order, node = self._order, socket.gethostname()
        for package, version in order.versions.items():
            if (found := versions().get(package, "none")) != version:
                raise UsageError(
                    f"the node '{node}' has another version of '{package}'",
                    observed=found,
                    expected=version,
                    hint="The shards would differ. Install the same packages on every node.",
                )
        if not order.probe.is_file() or not os.access(order.folder, os.W_OK):
            raise UsageError(
                f"the node '{node}' does not see the folder of the gallery, or may not write there",
                observed=f"'{order.folder}'",
                hint="Choose an --out that every node has at the same path.",
            )
        if (found := weights_of(self._encoder)) != order.manifest.plan.weights:
            raise UsageError(
                f"the node '{node}' has another encoder in '{order.bundle}'",
                observed=found[:12] + "…",
                expected=order.manifest.plan.weights[:12] + "…",
                hint="Put the encoder where every node has it at the same path.",
            )
        return node

    def embed(self, number: int, images: ImageSet, witness: str | None, decoders: int) -> Done:
        """Embed a shard and write it, or take it as it is where a worker wrote it and died after that.

        Args:
            number: of the shard.
            images: those of the shard.
            witness: one of their files that the job sees.
            decoders: processes that read them; 0 reads them in this one.

        Raises:
            UsageError: this node does not see it.
            DataError: the encoder gives no unit vectors.
        """
        order, manifest = self._order, self._order.manifest
        with contextlib.suppress(DamagedArtifact):
            if (there := recover_shard(order.folder, number, manifest.job, manifest.dim)) is not None:
                return there
        if witness is not None and not Path(witness).is_file():
            raise UsageError(
                f"the node '{socket.gethostname()}' does not see the images",
                observed=f"no '{witness}'",
                hint="Choose --images that every node has at the same path.",
            )
        batches = iter_decoded(images, self._encoder.input, manifest.plan.batches(range(len(images))), decoders)
        shard, failures = encode_shard(self._encoder, images, batches)
        return write_shard(order.folder, number, shard, manifest.job, failures), failures

    @cached_property
    def _encoder(self) -> Encoder:
        return load_encoder(self._order.bundle, threads=self._order.threads)


@dataclass(frozen=True)
class Sent:
    """A way of reading that holds what it gives, so that a few images can be sent without all the others."""

    sources: tuple[Source, ...]

    def __call__(self, index: int) -> ImageLike:
        """The source at ``index``."""
        source = self.sources[index]
        if isinstance(source, ImageError):
            raise source
        return source


def versions() -> dict[str, str]:
    """Of the packages that the bytes of a shard depend on, in this process."""
    found = {"hetsearch": hetsearch.__version__}
    for name in PACKAGES:
        # Some are also distributed under other names, which are then not compared.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
