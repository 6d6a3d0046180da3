"""How much of the query encoder should a blended gallery encoder hold? The share by which light queries find most.

Every image is embedded once by either encoder; a blend's vectors are then sums of these, so that nine shares cost nine
rankings and no further network. The share is the best of nine on the same images that its gain is measured on, which
flatters it a little: choose on validation images, and report on others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hetsearch.data.images import ImageSet
from hetsearch.data.pixels import Failure
from hetsearch.data.sides import Sides
from hetsearch.errors import GateNotMet
from hetsearch.evaluation.result import METRICS, Interval
from hetsearch.evaluation.run import CardedEncoder, embed_all
from hetsearch.evaluation.scores import score
from hetsearch.metrics import difference_interval
from hetsearch.metrics.bootstrap import FEWEST
from hetsearch.space import Vectors, blend_vectors, require_space

SHARES = tuple(tenths / 10 for tenths in range(1, 10))
METRIC = "map"  # what the share is chosen by


@dataclass(frozen=True)
class Choice:
    """The share of a blend, and what speaks for it.

    Attributes:
        share: of the query encoder, the best by mAP; the smallest of those that are equally good.
        data: name of the images.
        n_queries: queries that were scored.
        scores: by share and metric, M(q, b); at share 0 it is M(q, g). Fractions.
        difference: of mAP, M(q, b) at the share less M(q, g).
        ci: its 95 % interval over paired draws of queries.
        failures: images that could not be read, and were left out.
    """

    share: float
    data: str
    n_queries: int
    scores: dict[float, dict[str, float]]
    difference: float
    ci: Interval
    failures: tuple[Failure, ...] = ()

    @property
    def better(self) -> bool:
        """Whether light queries find more among the blended vectors beyond doubt."""
        return self.ci[0] > 0 and self.n_queries >= FEWEST

    def sentence(self) -> str:
        """One line for a person."""
        (low, high), blended, plain = self.ci, self.scores[self.share][METRIC], self.scores[0.0][METRIC]
        return (
            f"mAP of M(q,b) {blended:.4f} with share {self.share} against M(q,g) {plain:.4f}, difference "
            f"{self.difference:+.5f} [{low:+.5f}, {high:+.5f}], {self.n_queries:,} queries of {self.data}"
        )

    def as_dict(self) -> dict[str, Any]:
        """For ``encoder.json``, and for ``--json``."""
        return {
            "measured": True,
            "share": self.share,
            "data": self.data,
            "n_queries": self.n_queries,
            "scores": {str(share): row for share, row in self.scores.items()},
            "difference": {"metric": METRIC, "difference": self.difference, "ci": list(self.ci)},
        }


def choose_share(
    gallery: CardedEncoder, query: CardedEncoder, images: ImageSet, *, progress: bool = True
) -> Choice:
    """Measure M(q, b) for each share, and take the best.

    Args:
        gallery: the gallery encoder.
        query: the query encoder, of the same space.
        images: labelled, for validation; with roles as in :func:`hetsearch.evaluation.evaluate`.
        progress: show bars on stderr, where that is a terminal.

    Raises:
        SpaceMismatch: the encoders are of two spaces.
        DataError: no labels, wrong roles, no readable image, no query with a relevant item, or opposite vectors.
    """
    require_space(query.space, gallery.space, what="the query encoder and the gallery encoder")
    Sides.of(images).require_positives(images.name)  # told before the images are embedded, not after
    vectors, images, failures = embed_all({"gallery": gallery, "query": query}, images, progress=progress)
    sides = Sides.of(images)
    if failures:
        sides.require_positives(images.name)

    def values(items: Vectors) -> dict[str, Any]:
        return score(sides.query(vectors["query"]), sides.gallery(items)).values

    found = {0.0: values(vectors["gallery"])}
    found |= {share: values(blend_vectors(vectors["gallery"], vectors["query"], share)) for share in SHARES}
    scores = {share: {metric: float(rows[metric].mean()) for metric in METRICS} for share, rows in found.items()}
    best = max(SHARES, key=lambda share: scores[share][METRIC])  # the first, which is the smallest, of equals
    return Choice(
        share=best,
        data=images.name,
        n_queries=len(found[best][METRIC]),
        scores=scores,
        difference=scores[best][METRIC] - scores[0.0][METRIC],
        ci=difference_interval(found[best][METRIC], found[0.0][METRIC]),
        failures=failures,
    )


def require_better(choice: Choice) -> None:
    """Refuse a blend that is not worth the query encoder's cost in the gallery's job.

    Raises:
        GateNotMet: M(q, b) is not above M(q, g) beyond doubt, or too few queries say so.
    """
    if not choice.better:
        raise GateNotMet(
            "no blend is clearly better than the gallery encoder alone, so none is written",
            observed=choice.sentence(),
            expected=f"an interval above 0, of {FEWEST} queries or more",
            hint="Keep the gallery encoder, measure on more images, or give --share to blend without this proof.",
        )
