"""What a gallery job costs an image, in CPU seconds and bytes: the figures that docs/ten-machines.md multiplies.

    python scripts/measure_costs.py            # needs FashionMNIST and scikit-learn (two photographs); about a minute

Times are user and system time of one thread, so other work on the machine makes them worse only by what it does to the
caches. Each is the best of three. How far the vectors depend on the number of threads is shown too.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import sklearn

from hetsearch.data.images import ImageSet, PathReader
from hetsearch.data.pixels import load_pixels
from hetsearch.data.reading import content_of
from hetsearch.data.sources import open_source
from hetsearch.gallery import build_gallery
from hetsearch.gallery.embedding.ray_embed import sent
from hetsearch.gallery.embedding.shards import Shard, read_shard, recover_shard, write_shard
from hetsearch.preprocess import InputSpec, preprocess
from hetsearch.runtime import load_encoder

ZOO = Path(__file__).parents[1] / "zoo" / "fashion-mnist"
PHOTOS = Path(sklearn.__file__).parent / "datasets" / "images"
ROWS, DIM = 65_536, 128


def best(function: Callable[[], object], count: int) -> float:
    """Microseconds of CPU for each of ``count`` things that ``function`` does."""
    times = []
    for _ in range(3):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times) / count * 1e6


def show(what: str, value: float, unit: str) -> None:
    """One line of the table."""
    print(f"{what:<64} {value:>12,.2f} {unit}")


def jobs(folder: Path) -> None:
    """The whole job, from pixels to a gallery."""
    images = open_source("fashion-mnist:test")
    for name, count in (("gallery-encoder", 1000), ("query-encoder", 10_000)):
        encoder, some = load_encoder(ZOO / name), images.subset(range(count))
        fresh = (folder / f"{name}-{run}" for run in range(3))
        spent = best(lambda: build_gallery(encoder, some, next(fresh), progress=False), count)  # noqa: B023
        show(f"index build, {name}, 28 x 28 pixels", spent, "us/image")


def threads() -> None:
    """How far the vectors of 256 images in batches of 64 depend on the number of threads."""
    images = open_source("fashion-mnist:test").subset(range(256))
    for name in ("gallery-encoder", "query-encoder"):
        alone = load_encoder(ZOO / name)
        pixels = load_pixels(images, alone.input)
        expected = alone.encode_pixels(pixels)
        for count in (2, 4, 8):
            found = load_encoder(ZOO / name, threads=count).encode_pixels(pixels)
            show(f"{name}, {count} threads against one", float(np.abs(found - expected).max()) * 1e7, "e-7")


def photographs() -> None:
    """Reading a photograph of 640 x 427 pixels."""
    for path in sorted(PHOTOS.glob("*.jpg")):
        for size in (28, 224):
            spec = InputSpec(size=size, channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
            spent = best(lambda: [(content_of(path), preprocess(path, spec)) for _ in range(20)], 20)  # noqa: B023
            show(f"hash and decode {path.name} ({path.stat().st_size:,} bytes) to {size}", spent, "us/image")


def shards(folder: Path, keys: tuple[str, ...]) -> None:
    """A shard, and what the job does with it."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(ROWS, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    contents = rng.integers(0, 256, size=(ROWS, 32), dtype=np.uint8)
    known: dict[str, list[str | None]] = {
        "label": [key[:3] for key in keys],
        "path": [f"/data/{key}" for key in keys],
    }
    shard = Shard(keys, vectors, known, contents)
    show("write a shard", best(lambda: write_shard(folder, 0, shard, "job"), ROWS), "us/row")
    entry = write_shard(folder, 0, shard, "job")
    show("a shard", (folder / entry.file).stat().st_size / ROWS, "bytes/row")
    show("look whether a shard is whole (resume)", best(lambda: recover_shard(folder, 0, "job", DIM), ROWS), "us/row")
    show("read a shard (index, items)", best(lambda: read_shard(folder, entry, DIM), ROWS), "us/row")


def handing_out(keys: tuple[str, ...]) -> None:
    """What the one job does for each image that a cluster embeds."""
    images = ImageSet("keys", keys, PathReader(keys, Path("/data")), tuple(key[:3] for key in keys))
    rows = range(ROWS)
    show("hand an image to a cluster", best(lambda: pickle.dumps(sent(images, rows), 5), ROWS), "us/image")
    show("an image on its way", len(pickle.dumps(sent(images, rows), 5)) / ROWS, "bytes")


def indexes() -> None:
    """Bytes of a vector in an index: what 2,000 more add."""
    vectors = np.random.default_rng(0).normal(size=(2000, DIM)).astype(np.float32)
    for factory in ("Flat", "HNSW32", "IVF16,Flat", "IVF16,SQ8", "IVF16,RaBitQ"):
        index = faiss.index_factory(DIM, factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        before = len(faiss.serialize_index(index))
        index.add(vectors)
        show(f"{factory} of FAISS", (len(faiss.serialize_index(index)) - before) / len(vectors), "bytes/vector")


def main() -> None:
    """Measure everything."""
    digits = np.random.default_rng(0).integers(0, 10**10, size=ROWS).tolist()
    keys = tuple(f"{row % 1000:03d}/{row:010d}-{digits[row]:010d}.jpg" for row in range(ROWS))
    with tempfile.TemporaryDirectory() as folder:
        jobs(Path(folder))
        threads()
        photographs()
        shards(Path(folder), keys)
        handing_out(keys)
        indexes()


if __name__ == "__main__":
    main()
