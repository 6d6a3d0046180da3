"""The job that makes a gallery: embed, write shards, build the index, then the items, then ``gallery.json``.

``gallery.json`` comes last, so a job that is killed leaves nothing that opens.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure, iter_pixels
from hetsearch.errors import DataError, ImageError, UsageError
from hetsearch.files import make_folder, sha256_of
from hetsearch.gallery.card import CARD, EMBEDDINGS, ITEMS, GalleryCard, read_card, write_card
from hetsearch.gallery.folder import clear_unfinished
from hetsearch.gallery.gallery import open_gallery
from hetsearch.gallery.ids import listing_hash, stable_ids
from hetsearch.gallery.report import BuildReport
from hetsearch.gallery.shards import (
    FAILURES,
    Manifest,
    Plan,
    Shard,
    ShardEntry,
    read_failures,
    read_shards,
    write_failures,
    write_manifest,
    write_shard,
)
from hetsearch.gallery.store import WritableStore, store_kind
from hetsearch.gallery.tables import arrow, write_table
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import Vectors, require_space

TRAINING_ROWS = 262_144  # at most so many vectors train an index
PACKAGES = ("faiss-cpu", "pyarrow", "numpy", "onnxruntime")

OnError = Literal["skip", "fail"]


@dataclass(frozen=True)
class _Job:
    encoder: Encoder
    images: ImageSet
    out: Path
    plan: Plan
    store: str
    factory: str
    on_error: OnError
    max_errors: int | None


def build_gallery(
    encoder: Encoder,
    images: ImageSet,
    out: str | Path,
    *,
    store: str = "faiss",
    factory: str = "Flat",
    limit: int | None = None,
    on_error: OnError = "skip",
    max_errors: int | None = None,
    shard_rows: int = 4096,
    batch_size: int = 64,
    progress: bool = True,
) -> BuildReport:
    """Embed images and make a gallery of them.

    A finished gallery of the same images and space is left as it is; an unfinished one is started over.

    Args:
        encoder: makes the vectors.
        images: what to embed.
        out: the folder of the gallery.
        store: kind of store.
        factory: FAISS's description of the index; ``Flat`` is exact.
        limit: take only the first so many images.
        on_error: ``skip`` records an image that cannot be read, ``fail`` stops at it.
        max_errors: stop when more images than this cannot be read.
        shard_rows: vectors in one shard.
        batch_size: images in one call of the encoder.
        progress: draw a bar with images/s on stderr.

    Raises:
        UsageError: an argument cannot work, ``out`` holds something else or the gallery of other images.
        DataError: there are no images, or none can be read.
        ImageError: too many images cannot be read.
        SpaceMismatch: ``out`` is a gallery of another space.
        DamagedArtifact: ``out`` is a finished gallery that was changed.
        MissingExtra: faiss or pyarrow is not installed.
    """
    begin = time.perf_counter()
    arrow()
    images = _chosen(images, limit, shard_rows, max_errors)
    plan = Plan(
        images=images.name,
        listing=listing_hash(images.keys),
        rows=len(images),
        shard_rows=shard_rows,
        batch_size=batch_size,
    )
    job = _Job(encoder, images, Path(out), plan, store, factory, on_error, max_errors)
    if (job.out / CARD).exists():
        return _done_before(job, begin)
    stable_ids(images.keys)
    empty = store_kind(store).create(encoder.dim, factory, len(images))
    clear_unfinished(job.out)
    make_folder(job.out)
    manifest, failures = _embed(job, progress)
    _fill(empty, job.out, manifest)
    _finish(job, manifest)
    return _report(job, sum(entry.rows for entry in manifest.shards), tuple(failures), begin)


def _chosen(images: ImageSet, limit: int | None, shard_rows: int, max_errors: int | None) -> ImageSet:
    bounds = (("limit", limit, 1), ("shard_rows", shard_rows, 1), ("max_errors", max_errors, 0))
    for name, value, least in bounds:
        if value is not None and value < least:
            raise UsageError(f"{name} is too small", observed=value, expected=f"{least} or more")
    if not len(images):
        raise DataError(f"'{images.name}' has no images")
    return images if limit is None else images.subset(range(min(limit, len(images))))


def _done_before(job: _Job, begin: float) -> BuildReport:
    card = read_card(job.out)
    require_space(job.encoder.space, card.space, what=f"the encoder and the gallery '{job.out}'")
    if card.listing != job.plan.listing:
        raise UsageError(
            f"'{job.out}' is the gallery of other images",
            observed=f"{job.plan.rows:,} images of '{job.plan.images}'",
            expected=f"the keys of the {card.count + card.failures:,} images of '{card.images}', in their order",
            hint=f"To change its images use: hetsearch index update '{job.out}'. Or choose another --out.",
        )
    open_gallery(job.out)
    if os.path.abspath(card.images) != os.path.abspath(job.plan.images):
        warnings.warn(
            f"the gallery '{job.out}' was built from '{card.images}'; '{job.plan.images}' has the same keys and is "
            f"taken for the same images. Choose another --out if it is not",
            stacklevel=3,
        )
    asked = {"store": job.store, "factory": job.factory, "encoder": job.encoder.name}
    for name, value in asked.items():
        if getattr(card, name) != value:
            warnings.warn(
                f"the gallery '{job.out}' is finished with the {name} '{getattr(card, name)}'; '{value}' is "
                f"ignored. Choose another --out for it",
                stacklevel=3,
            )
    return _report(job, card.count, read_failures(job.out / EMBEDDINGS), begin, card)


def _embed(job: _Job, progress: bool) -> tuple[Manifest, list[Failure]]:
    """Write the shards, the failures and the manifest."""
    folder = job.out / EMBEDDINGS
    folder.mkdir()
    failures: list[Failure] = []
    entries: list[ShardEntry] = []
    with tqdm(total=job.plan.rows, desc="embed", unit="img", disable=None if progress else True) as bar:
        for shard in _shards(job, failures, bar):
            entries.append(write_shard(folder, len(entries), shard))
    if not entries:
        raise DataError(
            f"no image of '{job.images.name}' can be read",
            observed=f"{len(failures)} failures, first: {failures[0].reason}",
            hint="Look at the source with: hetsearch data check",
        )
    write_failures(folder, failures)
    manifest = Manifest(
        space=job.encoder.space,
        encoder=job.encoder.name,
        dim=job.encoder.dim,
        plan=job.plan,
        shards=tuple(entries),
        failures=len(failures),
        files={FAILURES: sha256_of(folder / FAILURES)},
    )
    write_manifest(folder, manifest)
    return manifest, failures


def _shards(job: _Job, failures: list[Failure], bar: Any) -> Iterator[Shard]:
    """Embed in batches and give full shards, the last may be smaller."""
    rows: list[int] = []
    blocks: list[Vectors] = []
    size = job.plan.shard_rows
    for indices, pixels in iter_pixels(job.images, job.encoder.input, job.plan.batch_size, failures):
        _check_failures(job, failures)
        rows += indices
        blocks.append(job.encoder.encode_pixels(pixels))
        bar.update(indices[-1] + 1 - bar.n)
        while len(rows) >= size:
            vectors = np.concatenate(blocks)
            yield _shard(job, rows[:size], vectors[:size])
            rows, blocks = rows[size:], [vectors[size:]]
    _check_failures(job, failures)
    bar.update(job.plan.rows - bar.n)
    if rows:
        yield _shard(job, rows, np.concatenate(blocks))


def _check_failures(job: _Job, failures: list[Failure]) -> None:
    allowed = 0 if job.on_error == "fail" else job.max_errors
    if allowed is None or len(failures) <= allowed:
        return
    key, reason = failures[allowed].key, failures[allowed].reason
    raise ImageError(
        f"the job stopped at an image that cannot be read ('{key}')",
        observed=reason,
        expected=f"at most {allowed} such images",
        hint="'--on-error skip' without --max-errors records such images in failures.parquet and goes on.",
    )


def _shard(job: _Job, rows: list[int], vectors: Vectors) -> Shard:
    images = job.images
    columns = {"label": images.labels, "group": images.groups, "domain": images.domains}
    attributes = {
        name: [column[row] for row in rows] for name, column in columns.items() if column is not None
    }
    sources = [images.read(row) for row in rows] if isinstance(images.read(rows[0]), (str, Path)) else []
    if sources:
        # Absolute, because the gallery is opened from other folders as well.
        attributes["path"] = [str(Path(str(source)).absolute()) for source in sources]
    return Shard(tuple(images.keys[row] for row in rows), vectors, attributes)


def _fill(store: WritableStore, out: Path, manifest: Manifest) -> None:
    """Train the store on an even sample, add every shard, and write it and the items from the same rows."""
    folder = out / EMBEDDINGS
    step = -(-manifest.plan.rows // TRAINING_ROWS)
    store.train(lambda: np.concatenate([shard.vectors[::step] for shard in read_shards(folder, manifest)]))
    columns: dict[str, list[Any]] = {"key": [], "id": []}
    for shard in read_shards(folder, manifest):
        store.add(shard.ids, shard.vectors)
        for name, values in {"key": shard.keys, "id": shard.ids.tolist(), **shard.attributes}.items():
            columns.setdefault(name, []).extend(values)
    store.save(out)
    pa, _ = arrow()
    write_table(out / ITEMS, {**columns, "id": pa.array(columns["id"], type=pa.int64())})


def _finish(job: _Job, manifest: Manifest) -> None:
    card = GalleryCard(
        space=manifest.space,
        dim=manifest.dim,
        encoder=manifest.encoder,
        input=job.encoder.input,
        store=job.store,
        factory=job.factory,
        count=sum(entry.rows for entry in manifest.shards),
        images=manifest.plan.images,
        listing=manifest.plan.listing,
        failures=manifest.failures,
        versions=_versions(),
    )
    write_card(job.out, card)


def _versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        # FAISS and ONNX Runtime are also distributed under other names; theirs is then not recorded.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _report(
    job: _Job, rows: int, failures: tuple[Failure, ...], begin: float, card: GalleryCard | None = None
) -> BuildReport:
    return BuildReport(
        gallery=job.out,
        space=job.encoder.space,
        encoder=card.encoder if card else job.encoder.name,
        store=card.store if card else job.store,
        factory=card.factory if card else job.factory,
        rows=rows,
        failures=failures,
        seconds=time.perf_counter() - begin,
        bytes=sum(path.stat().st_size for path in job.out.rglob("*") if path.is_file()),
        done_before=card is not None,
    )
