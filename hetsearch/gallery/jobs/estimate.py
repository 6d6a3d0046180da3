"""What a job will cost, before it starts: images, bytes, memory and time; and the refusal of what cannot fit."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hetsearch.data.images import ImageSet
from hetsearch.data.reading import DIGEST
from hetsearch.errors import DataError, UsageError
from hetsearch.gallery.choosing.choice import Candidate
from hetsearch.gallery.embedding.decode import iter_decoded
from hetsearch.gallery.embedding.embed import source_path
from hetsearch.gallery.manifest import Plan
from hetsearch.gallery.stores.store import StorePlan
from hetsearch.runtime.encoder import Encoder

SAMPLE = 1000  # keys whose length is measured
PROBE = 64  # images that are embedded to measure the speed
WARM = 2  # images before those: the first call of an encoder sets it up
WORKER = 125_000_000  # bytes of a process that decodes, as scripts/bench_memory.py measures it
RESERVE = 0.02  # of the bytes: footers, links between files, a file system's own


@dataclass(frozen=True)
class Estimate:
    """What a job will cost.

    Attributes:
        gallery: the folder.
        images: that the job is to embed.
        shards: that it makes of them.
        shards_there: of these, written by a run before.
        shard_bytes: all shards.
        index_bytes: the store's file.
        item_bytes: the table of items.
        free_bytes: on the disk now.
        memory_bytes: at the worst moment, in all processes.
        memory_total: that the machine, or this process's control group, has; 0 where the system does not tell.
        images_per_second: measured on a few of the images; None where nothing was measured.
        candidates: where the factory is ``auto``, what it will be chosen among. ``index_bytes`` is the largest that it
            may choose; what the others find, and how fast, is measured once there are vectors.
    """

    gallery: Path
    images: int
    shards: int
    shards_there: int
    shard_bytes: int
    index_bytes: int
    item_bytes: int
    free_bytes: int
    memory_bytes: int
    memory_total: int = 0
    images_per_second: float | None = None
    candidates: tuple[Candidate, ...] = ()

    @property
    def needed_bytes(self) -> int:
        """What the job will still write."""
        left = 1 - self.shards_there / max(self.shards, 1)
        return int((self.shard_bytes * left + self.index_bytes + self.item_bytes) * (1 + RESERVE))

    @property
    def seconds(self) -> float | None:
        """Until the images that are left are embedded; building the index comes on top."""
        if self.images_per_second is None:
            return None
        return self.images * (1 - self.shards_there / max(self.shards, 1)) / self.images_per_second

    @property
    def lacking(self) -> str | None:
        """What has no room for it: the ``disk`` or the ``memory``; None where it fits."""
        if self.needed_bytes > self.free_bytes:
            return "disk"
        return "memory" if self.memory_total and self.memory_bytes > self.memory_total else None

    @property
    def fits(self) -> bool:
        """Whether disk and memory have room for it."""
        return self.lacking is None

    def as_dict(self) -> dict[str, Any]:
        """The estimate as a JSON document."""
        more = {"needed_bytes": self.needed_bytes, "seconds": self.seconds, "fits": self.fits}
        found = [asdict(candidate) for candidate in self.candidates]
        return {**vars(self), "gallery": str(self.gallery), "candidates": found, **more}


def estimate(
    out: Path,
    images: ImageSet,
    encoder: Encoder,
    store: StorePlan,
    plan: Plan,
    *,
    workers: int,
    items: int | None = None,
    there: int = 0,
    copies: int = 0,
) -> Estimate:
    """Estimate a job without reading an image.

    Args:
        out: the folder of the gallery; it need not exist.
        images: what is to be embedded.
        encoder: makes the vectors.
        store: that is to be built.
        plan: of the job.
        workers: processes that decode.
        items: that the gallery will have; default: the images.
        there: shards that were written before.
        copies: vectors that are there and are written once more.
    """
    items = len(images) if items is None else items
    text = _text_bytes(images)
    row = encoder.dim * 4 + 8 + DIGEST + text
    index = store.bytes_for(items)
    spec = encoder.input
    pixels = plan.batch_size * spec.channels * spec.size**2
    stage = pixels * (2 * workers + 3) + 3 * min(plan.shard_rows, plan.rows) * row
    return Estimate(
        gallery=out,
        images=plan.rows,
        shards=plan.shards,
        shards_there=there,
        shard_bytes=(plan.rows + copies) * row,
        index_bytes=index,
        item_bytes=items * (8 + text),
        free_bytes=shutil.disk_usage(_existing(out)).free,
        memory_bytes=_memory_now() + max(stage + workers * WORKER, index + stage),
        memory_total=_memory_total(),
    )


def require_room(expected: Estimate) -> None:
    """Refuse a job that the disk or the memory has no room for.

    Raises:
        UsageError: so it is.
    """
    if expected.lacking == "memory":
        raise UsageError(
            "the memory of this machine has no room for this job",
            observed=f"{expected.memory_total / 1e6:,.0f} MB",
            expected=f"{expected.memory_bytes / 1e6:,.0f} MB, of these the index {expected.index_bytes / 1e6:,.0f}",
            hint="Choose a --factory whose index is smaller, such as SQ8, or fewer --workers.",
        )
    if expected.lacking:
        raise UsageError(
            f"the disk of '{expected.gallery}' has no room for this job",
            observed=f"{expected.free_bytes / 1e6:,.1f} MB free",
            expected=f"{expected.needed_bytes / 1e6:,.1f} MB: shards {expected.shard_bytes / 1e6:,.1f}, index "
            f"{expected.index_bytes / 1e6:,.1f}, items {expected.item_bytes / 1e6:,.1f}",
            hint="Free some room, choose another --out, or a smaller --factory.",
        )


def measure(encoder: Encoder, images: ImageSet, workers: int) -> float:
    """Images a second, from embedding a few of them that lie spread over the listing.

    Raises:
        DataError: none of these can be read.
    """
    count = min(PROBE + WARM, len(images))
    some = images.subset(_spread(len(images), count))
    begin = time.perf_counter()
    read = next(iter_decoded(some, encoder.input, [range(len(some))], 0))
    decoding = (time.perf_counter() - begin) / len(some)
    if not read.kept:
        raise DataError(
            f"none of {count} images of '{images.name}' can be read",
            observed=read.failures[0].reason,
            hint="Look at the source with: hetsearch data check",
        )
    encoder.encode_pixels(read.pixels[:WARM])
    timed = read.pixels[WARM:] if len(read.pixels) > WARM else read.pixels
    begin = time.perf_counter()
    encoder.encode_pixels(timed)
    encoding = (time.perf_counter() - begin) / len(timed)
    return 1 / max(max(encoding, decoding / workers) if workers else encoding + decoding, 1e-9)


def _spread(length: int, count: int) -> Sequence[int]:
    return [position * length // count for position in range(count)]


def _text_bytes(images: ImageSet) -> int:
    """Bytes of the text of a row: key, label, group, domain, path. Parquet packs it; as it is, it is the most."""
    rows = _spread(len(images), min(SAMPLE, len(images)))
    columns = [column for column in (images.keys, images.labels, images.groups, images.domains) if column]
    words = sum(len(column[row].encode(errors="replace")) + 4 for column in columns for row in rows)
    first = source_path(images, rows[0]) if rows else None
    paths = sum(len(source_path(images, row) or "") + 4 for row in rows) if first else 0
    return -(-(words + paths) // max(len(rows), 1))


def _memory_total() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    sizes = {name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines)}
    total = sizes["MemTotal"] + sizes["SwapTotal"]
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def _existing(path: Path) -> Path:
    path = path.absolute()
    return path if path.exists() else _existing(path.parent)


def _memory_now() -> int:
    """Bytes that this process has taken at most so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
