"""The evaluation: embed, measure the matrix, judge, cost."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.data.sides import Sides
from hetsearch.errors import UsageError
from hetsearch.evaluation.backfill import backfill_rows, orders_of, require_older
from hetsearch.evaluation.cost import cost_of
from hetsearch.evaluation.examples import pick_examples
from hetsearch.evaluation.gates.baseline import listing_of
from hetsearch.evaluation.matrix import Pair, matrix_rows, pairs_of, score_pairs
from hetsearch.evaluation.result import BackfillRow, Evaluation, Example, Verdict
from hetsearch.evaluation.run import CardedEncoder, embed_all
from hetsearch.evaluation.scores import Scores
from hetsearch.evaluation.verdict import Paragon, judge, paragon_of
from hetsearch.evaluation.verification import open_set_rows, verification_rows
from hetsearch.metrics.bootstrap import DRAWS, LEVEL, SEED
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import Embeddings, EmbeddingSpace, Vectors, require_space


def evaluate(
    queries: Sequence[CardedEncoder],
    gallery: CardedEncoder,
    images: ImageSet,
    free: Sequence[tuple[str, CardedEncoder]] | None = None,
    *,
    verification: bool = False,
    open_set: bool = False,
    older: Encoder | None = None,
    space: EmbeddingSpace | None = None,
    progress: bool = True,
    command: str | None = None,
) -> Evaluation:
    """Measure query encoders against a gallery encoder on labelled images.

    Without roles every image is query and item, its own key left out; with roles, queries against gallery.
    Items of the query's group are left out if the images have groups. Each encoder embeds each image once,
    and every interval comes from the same bootstrap draws of queries.

    Args:
        queries: query encoders of the gallery encoder's space; each gets a verdict.
        gallery: the gallery encoder.
        images: labelled images.
        free: named free encoders, each of a space of its own; the first is the verdict's M(q*, q*).
        verification: measure TAR at FAR over all pairs too, of (q, g) and (g, g).
        open_set: measure TPIR at FPIR too; queries without a relevant item are the probes to reject.
        older: the gallery encoder that this one is to replace: measure the queries while its vectors are replaced.
        space: the gallery encoder's; with its classifier the order ``gain`` is measured too.
        progress: show bars on stderr, where that is a terminal.
        command: the command line, for the record.

    Raises:
        UsageError: no query encoder, a free or older encoder of the gallery's own space, or an older one whose vectors
            have another length.
        SpaceMismatch: a query encoder, or the space, is another one.
        DataError: no labels, wrong roles, no readable image, or no query with a relevant item.
    """
    free = list(free or ())
    _check_encoders(queries, gallery, free)
    if space is not None:
        require_space(space.id, gallery.space, what=f"the space and the gallery encoder '{gallery.name}'")
    if older is not None:
        require_older(older, gallery)
    names = unique_names([gallery.name, *(encoder.name for encoder in queries), *(name for name, _ in free)])
    own, light, independent = names[0], names[1 : len(queries) + 1], names[len(queries) + 1 :]
    encoders = dict(zip(names, [gallery, *queries, *(encoder for _, encoder in free)], strict=True))
    roles = {own: "gallery", **dict.fromkeys(light, "query"), **dict.fromkeys(independent, "free")}
    Sides.of(images).require_positives(images.name)  # told before an hour of embedding, not after
    listing = listing_of(images)
    replaced = {f"{older.name} (older)": older} if older else {}
    vectors, images, failures = embed_all({**encoders, **replaced}, images, progress=progress)
    before = [vectors.pop(name) for name in replaced]
    sides = Sides.of(images)
    if failures:
        sides.require_positives(images.name)
    controls, left_out = _controls(own, independent, vectors)
    if older is not None and (space is None or space.classifier is None):
        left_out["order gain"] = "the classifier of the gallery encoder's space is not there"
    scores = score_pairs(pairs_of(own, light, independent, controls), vectors, sides)
    reference = scores[Pair(own, own, "paragon")]
    paragon = paragon_of(gallery.card, images.name, reference.values)
    verdicts = _verdicts(own, light, independent, scores, paragon, sides)
    cells = [*((name, own) for name in light), (own, own)]
    return Evaluation(
        data=images.name,
        n_queries=reference.n_queries,
        n_gallery=len(sides.gallery_rows),
        n_without_positives=reference.n_without_positives,
        encoders={name: cost_of(encoder, roles[name]) for name, encoder in encoders.items()},
        matrix=matrix_rows(scores),
        verdicts=verdicts,
        paragon=paragon.as_dict(),
        recall={(pair.query, pair.gallery): cell.curve for pair, cell in scores.items()},
        embeddings=_query_embeddings(encoders, vectors, sides),
        labels=tuple(sides.labels[sides.query_rows].tolist()),
        examples=_examples(own, light, vectors, sides, scores),
        settings=_settings(sides, failures, left_out, listing, command),
        verification=verification_rows(cells, vectors, sides) if verification else None,
        open_set=open_set_rows(cells, vectors, sides) if open_set else None,
        backfill=_backfill(light, own, vectors, before[0], sides, space) if before else None,
    )


def _backfill(
    light: Sequence[str],
    own: str,
    vectors: Mapping[str, Vectors],
    before: Vectors,
    sides: Sides,
    space: EmbeddingSpace | None,
) -> tuple[BackfillRow, ...]:
    queries = {name: vectors[name] for name in light}
    return backfill_rows(queries, before, vectors[own], sides, orders_of(sides, before, space))


def unique_names(names: Sequence[str]) -> list[str]:
    """The same names, a number put behind each that was there before.

    >>> unique_names(["a", "b", "a", "a-2"])
    ['a', 'b', 'a-2', 'a-2-2']
    """
    unique: list[str] = []
    for name in names:
        candidate, count = name, 1
        while candidate in unique:
            count += 1
            candidate = f"{name}-{count}"
        unique.append(candidate)
    return unique


def _check_encoders(
    queries: Sequence[CardedEncoder], gallery: CardedEncoder, free: Sequence[tuple[str, CardedEncoder]]
) -> None:
    if not queries:
        raise UsageError("there is no query encoder", expected="at least one", hint="Name one with --query.")
    for encoder in queries:
        require_space(
            encoder.space,
            gallery.space,
            what=f"the query encoder '{encoder.name}' and the gallery encoder '{gallery.name}'",
        )
    for name, encoder in free:
        if encoder.space == gallery.space:
            raise UsageError(
                f"'{name}' is no free encoder",
                observed=f"the gallery encoder's space {encoder.space}",
                expected="a space of its own",
                hint="Give an encoder of the gallery's space with --query.",
            )


def _controls(
    own: str, independent: Sequence[str], vectors: Mapping[str, Vectors]
) -> tuple[list[str], dict[str, str]]:
    # Vectors of two spaces are compared here on purpose: the control shows that it is worth nothing.
    left_out = {
        f"M({name}, {own})": f"dimensions {vectors[name].shape[1]} and {vectors[own].shape[1]} differ"
        for name in independent
        if vectors[name].shape[1] != vectors[own].shape[1]
    }
    return [name for name in independent if f"M({name}, {own})" not in left_out], left_out


def _verdicts(
    own: str,
    light: Sequence[str],
    independent: Sequence[str],
    scores: Mapping[Pair, Scores],
    paragon: Paragon,
    sides: Sides,
) -> dict[str, Verdict]:
    ceiling = scores[Pair(own, own, "paragon")]
    reference, labels = ceiling.values, sides.labels[sides.query_rows][ceiling.scored]
    baseline = scores[Pair(independent[0], independent[0], "baseline")].values if independent else None
    return {
        name: judge(
            scores[Pair(name, own, "heterogeneous")].values,
            scores[Pair(name, name, "homogeneous")].values,
            reference,
            paragon,
            baseline,
            labels,
        )
        for name in light
    }


def _query_embeddings(
    encoders: Mapping[str, CardedEncoder], vectors: Mapping[str, Vectors], sides: Sides
) -> dict[str, Embeddings]:
    keys = tuple(sides.keys[sides.query_rows].tolist())
    return {
        name: Embeddings(np.asarray(vectors[name][sides.query_rows], dtype=np.float32), encoder.space, keys)
        for name, encoder in encoders.items()
    }


def _examples(
    own: str,
    light: Sequence[str],
    vectors: Mapping[str, Vectors],
    sides: Sides,
    scores: Mapping[Pair, Scores],
) -> dict[str, tuple[Example, ...]]:
    cells = {name: scores[Pair(name, own, "heterogeneous")] for name in light}
    return {
        name: pick_examples(vectors[name], vectors[own], sides, cell.scored, cell.values["p@1"])
        for name, cell in cells.items()
    }


def _settings(
    sides: Sides,
    failures: Sequence[Failure],
    left_out: Mapping[str, str],
    listing: str,
    command: str | None,
) -> dict[str, Any]:
    return {
        "protocol": sides.protocol,
        "listing": listing,
        "groups_excluded": sides.groups is not None,
        "ties": "score descending, in float64 rounded to 9 decimals, then key ascending",
        "bootstrap": {"draws": DRAWS, "seed": SEED, "level": LEVEL, "over": "queries, paired"},
        "latency": "median of one image, one thread, ONNX Runtime",
        "left_out": dict(left_out),
        "failures": [{"key": failure.key, "reason": failure.reason} for failure in failures],
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "command": command,
    }


_PACKAGES = ("hetsearch", "numpy", "onnxruntime")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
