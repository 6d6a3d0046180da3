"""The words of scripts/make_example.py: results/NAME.md, from the evaluations of every seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tables import over_seeds

from hetsearch.evaluation import Evaluation
from hetsearch.evaluation.blending import Choice
from hetsearch.evaluation.result import METRICS, MatrixRow, Verdict

Mistakes = dict[str, dict[str, Any]]  # of one seed: row of results/NAME.json → its metrics and their intervals

MEANING = {
    "paragon": "M(g,g)",
    "heterogeneous": "M(q,g)",
    "homogeneous": "M(q,q)",
    "baseline": "M(q*,q*)",
    "control": "M(q*,g)",
}
BLENDED = {"heterogeneous": "M(q,b)", "paragon": "M(b,b)"}  # in a gallery of the blend


def as_markdown(
    name: str,
    command: str,
    found: dict[int, Evaluation],
    blends: dict[int, tuple[Choice, Evaluation]],
    mistakes: Sequence[Mistakes],
) -> str:
    """The table for people: mean over seeds with the range, and each seed's verdict.

    Args:
        name: of the data set.
        command: that measured.
        found: by seed, in a gallery of the gallery encoder.
        blends: by seed, in a gallery of the blend, where it is clearly better on the validation images.
        mistakes: of each seed; empty where the classifier knows nothing of the classes.
    """
    first = next(iter(found.values()))
    costs = first.encoders
    heavy, light = (next(row for row in costs.values() if row.role == role) for role in ("gallery", "query"))
    lines = [
        f"# {name}: the released example",
        "",
        f"`{command}` on {first.n_queries:,} test images, leave-one-out; {len(found)} seed(s) of the query encoder and "
        "the free encoder, one gallery encoder (float32). Mean over seeds, in brackets smallest and largest.",
        "",
        f"| | {' | '.join(METRICS)} |",
        f"| --- | {' | '.join('---' for _ in METRICS)} |",
    ]
    blended = [evaluation for _, evaluation in blends.values()]
    for meaning, evaluations in ((MEANING, list(found.values())), (BLENDED, blended)):
        for kind, cell in meaning.items() if evaluations else ():
            matrix = [row_of(evaluation, kind).metrics for evaluation in evaluations]
            cells = [over_seeds([metrics[metric] for metrics in matrix]) for metric in METRICS]
            of = "" if len(evaluations) == len(found) else f", {len(evaluations)} seed(s)"  # the others kept no blend
            lines.append(f"| {cell}{of} | {' | '.join(cells)} |")
    verdicts = [verdict_of(evaluation) for evaluation in found.values()]
    kept = [over_seeds([verdict.retention[metric] for verdict in verdicts]) for metric in METRICS]
    lines += [f"| retention M(q,g)/M(g,g) | {' | '.join(kept)} |", ""]
    lines += [
        f"Cost of a query: {light.macs:,} MACs against {heavy.macs:,} ({heavy.macs / light.macs:.0f} times fewer), "
        f"{light.params:,} parameters against {heavy.params:,} ({heavy.params / light.params:.0f} times fewer), an "
        f"ONNX file of {light.bytes:,} bytes against {heavy.bytes:,}, {light.latency_ms:.2f} ms against "
        f"{heavy.latency_ms:.1f} ms on one thread.",
        "",
        *([_mistakes_in_words(mistakes), ""] if mistakes else []),
        "| seed | gallery | compatible by map, p@1 | useful by map, p@1 | retention of M(g,g) | nfr@1, pfr@1 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    galleries = [(seed, "the gallery encoder's", evaluation) for seed, evaluation in found.items()]
    galleries += [
        (seed, f"blended, share {choice.share}", evaluation) for seed, (choice, evaluation) in blends.items()
    ]
    for seed, gallery, evaluation in galleries:
        verdict = verdict_of(evaluation)
        claims = [
            ", ".join(_word(answers[metric]) for metric in ("map", "p@1"))
            for answers in (verdict.compatible, verdict.useful)
        ]
        kept_here = ", ".join(f"{verdict.retention[metric]:.4f}" for metric in ("map", "p@1"))
        flips = f"{verdict.nfr_at_1:.4f}, {verdict.pfr_at_1:.4f}"
        lines.append(f"| {seed} | {gallery} | {claims[0]} | {claims[1]} | {kept_here} | {flips} |")
    told = [f"Seed {seed} was blended for this: {choice.sentence()}." for seed, (choice, _) in blends.items()]
    return "\n".join([*lines, "", *told]).rstrip() + "\n"


def _mistakes_in_words(mistakes: Sequence[Mistakes]) -> str:
    def told(row: str, metric: str) -> str:
        return over_seeds([seed[row]["metrics"][metric] for seed in mistakes])

    return (
        f"Through the space's classifier q names the class of {told('class by W', 'q')} of the images and g of "
        f"{told('class by W', 'g')}. Of the wrong first neighbours of M(q,g), "
        f"{told('wrong first neighbours', 'query mistaken by q')} have a query that q mistakes, and "
        f"{told('wrong first neighbours', 'item mistaken by g')} an item that g mistakes."
    )


def row_of(evaluation: Evaluation, kind: str) -> MatrixRow:
    """The first row of a kind."""
    return next(row for row in evaluation.matrix if row.kind == kind)


def verdict_of(evaluation: Evaluation) -> Verdict:
    """Of the one query encoder."""
    return next(iter(evaluation.verdicts.values()))


def _word(answer: bool | None) -> str:
    return {True: "yes", False: "no", None: "open"}[answer]
