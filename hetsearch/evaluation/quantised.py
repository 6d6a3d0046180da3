"""Is an int8 file better than the float32 one? What it gives and what it takes, and the rules by which it is kept.

In a back-end it is kept where all hold:

1. no vector's cosine to the float32 one is below :data:`SMALLEST_COSINE`;
2. M(q, g) by mAP is not significantly worse: the 95 % interval of the paired difference reaches 0;
3. one image on one thread is faster beyond noise: the 95 % interval of the paired difference of times ends below 0;
4. a batch of 64 is not slower beyond noise: that interval reaches 0, or ends below it.

The paired values are queries for 2, and rounds in which both took their turn for 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hetsearch.bundle import ONNX
from hetsearch.data.images import ImageSet
from hetsearch.data.sides import Sides
from hetsearch.errors import DataError, GateNotMet, UsageError
from hetsearch.evaluation.result import METRICS
from hetsearch.evaluation.run import embed
from hetsearch.evaluation.scores import score
from hetsearch.metrics import difference_interval
from hetsearch.runtime.encoder import Encoder
from hetsearch.runtime.onnx_encoder import load_encoder
from hetsearch.runtime.timing import in_turns
from hetsearch.space import Vectors

SMALLEST_COSINE = 0.95
BATCHES = (1, 64)
ROUNDS = 30
TURN = 0.05  # seconds that each file has in a round


@dataclass(frozen=True)
class Change:
    """A figure before and after, and their paired difference.

    Attributes:
        before: of the float32 file.
        after: of the int8 file.
        ci: 95 % interval of ``after - before``.
    """

    before: float
    after: float
    ci: tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """An int8 file beside the float32 one.

    Attributes:
        precision: of the file.
        data: images that were embedded.
        n_queries: of them, queries that were scored.
        bytes: of the two files, float32 first.
        smallest_cosine: between the two vectors of an image, over all images.
        mean_cosine: likewise.
        quality: M(q, g) by metric.
        milliseconds: on one thread, by back-end and then by images in a call.
    """

    precision: str
    data: str
    n_queries: int
    bytes: tuple[int, int]
    smallest_cosine: float
    mean_cosine: float
    quality: dict[str, Change]
    milliseconds: dict[str, dict[int, Change]]

    def reasons(self, backend: str) -> tuple[str, ...]:
        """Why it is not kept in a back-end; empty where it is."""
        found, times = [], self.milliseconds[backend]
        if not self.smallest_cosine >= SMALLEST_COSINE:
            found.append(f"the smallest cosine is {self.smallest_cosine:.4f}, below {SMALLEST_COSINE}")
        if self.quality["map"].ci[1] < 0:
            found.append(f"M(q,g) by mAP is worse, by {_ends(self.quality['map'], 5)}")
        if not times[1].ci[1] < 0:
            found.append(f"one image is not faster: the difference is {_ends(times[1], 4)} ms")
        if times[64].ci[0] > 0:
            found.append(f"a batch of 64 is slower, by {_ends(times[64], 3)} ms")
        return tuple(found)

    def as_dict(self) -> dict[str, Any]:
        """For ``encoder.json`` and for a row of results."""
        kept = {backend: not self.reasons(backend) for backend in self.milliseconds}
        return {**asdict(self), "kept": kept, "reasons": {name: self.reasons(name) for name in kept}}


def compare_files(
    before: Path, after: Path, images: ImageSet, heavy: Vectors, *, backends: Sequence[str], rounds: int = ROUNDS
) -> Comparison:
    """Measure an int8 bundle beside its float32 one.

    Args:
        before: the float32 bundle.
        after: the int8 bundle.
        images: labelled, all of them readable.
        heavy: the gallery encoder's vectors of ``images``, ``(images, dim)``; see :func:`gallery_vectors`.
        backends: where the times are measured.
        rounds: how often the files take turns.

    Raises:
        UsageError: ``before`` is not float32.
        DataError: an image cannot be read, or there are no labels.
    """
    light = {name: load_encoder(folder) for name, folder in (("before", before), ("after", after))}
    if (precision := light["before"].card.precision) != "float32":
        hint = "Export it in float32 first."
        raise UsageError(f"'{before}' is no float32 bundle", observed=precision, hint=hint)
    sides = Sides.of(images)
    vectors = {name: gallery_vectors(encoder, images) for name, encoder in light.items()}
    scores = {name: score(sides.query(rows), sides.gallery(heavy)) for name, rows in vectors.items()}
    cosines = np.einsum("nd,nd->n", *(rows.astype(np.float64) for rows in vectors.values()))
    values = {name: found.values for name, found in scores.items()}
    return Comparison(
        precision=light["after"].card.precision,
        data=images.name,
        n_queries=scores["before"].n_queries,
        bytes=((before / ONNX).stat().st_size, (after / ONNX).stat().st_size),
        smallest_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        quality={
            metric: Change(
                float(values["before"][metric].mean()),
                float(values["after"][metric].mean()),
                difference_interval(values["after"][metric], values["before"][metric]),
            )
            for metric in METRICS
        },
        milliseconds={backend: _times(before, after, backend, rounds) for backend in backends},
    )


def require_better(comparison: Comparison, backend: str) -> dict[str, Any]:
    """The comparison, if the int8 file is kept.

    Raises:
        GateNotMet: it is not, and why.
    """
    if reasons := comparison.reasons(backend):
        raise GateNotMet(
            f"{comparison.precision} is not better than float32 in {backend}, so the bundle stays as it was",
            observed="; ".join(reasons),
        )
    return comparison.as_dict()


def gallery_vectors(encoder: Encoder, images: ImageSet) -> Vectors:
    """Vectors of every image, ``(images, dim)``.

    Raises:
        DataError: an image cannot be read.
    """
    found = embed(encoder, images)
    if found.failures:
        first = found.failures[0]
        raise DataError("int8 is compared on images that can all be read", observed=f"{first.key}: {first.reason}")
    return found.vectors


def _times(before: Path, after: Path, backend: str, rounds: int) -> dict[int, Change]:
    encoders = {name: load_encoder(folder, backend=backend) for name, folder in (("before", before), ("after", after))}
    spec, found = encoders["before"].input, {}
    for count in BATCHES:
        shape = (count, spec.channels, spec.size, spec.size)
        pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        works = {name: partial(encoder.encode_pixels, pixels) for name, encoder in encoders.items()}
        times = {name: one.medians for name, one in in_turns(works, rounds=rounds, seconds=TURN).items()}
        ends = difference_interval(times["after"], times["before"])
        found[count] = Change(float(np.median(times["before"])), float(np.median(times["after"])), ends)
    return found


def _ends(change: Change, places: int) -> str:
    low, high = change.ci
    return f"[{low:+.{places}f}, {high:+.{places}f}]"
