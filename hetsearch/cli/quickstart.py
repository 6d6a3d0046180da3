"""``hetsearch quickstart``: the main job on real data, and what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hetsearch.cli.console import emit, say, table

if TYPE_CHECKING:
    from hetsearch.quickstart import Quickstart


def quickstart(
    *,
    out: Annotated[Path, Parameter(help="Folder of the run; an interrupted run resumes there.")] = Path(
        "runs/quickstart"
    ),
    zoo: Annotated[Path, Parameter(help="The released example.")] = Path("zoo/fashion-mnist"),
    from_scratch: Annotated[bool, Parameter(help="Train the gallery encoder too.", negative="")] = False,
) -> None:
    """The whole idea on FashionMNIST, in a few minutes on two cores.

    Trains a query network of 0.1 M parameters into the space of the released ResNet50V2, builds the gallery of the
    10,000 test images, searches it, and proves in a report that the two networks are compatible.
    """
    from hetsearch.quickstart import quickstart as run

    done = run(out, zoo, from_scratch=from_scratch)
    emit("\n".join(("", *_shown(done), "", *_numbers(done), "", *_next(done, zoo))))
    say(f"\n{sum(done.seconds.values()):.0f} s: " + ", ".join(f"{name} {s:.0f}" for name, s in done.seconds.items()))


def _shown(done: Quickstart) -> list[str]:
    lines = ["Searching with test images (the tiny network) among the others (the large network):"]
    for key, hits in done.hits.items():
        found = ", ".join(f"{hit.item['label']} {hit.score:.2f}" for hit in hits)
        lines.append(f"  {key} ({done.label_of[key]}): {found}")
    return lines


def _numbers(done: Quickstart) -> list[str]:
    from hetsearch.evaluation.report.words import HEADER, matrix_table, verdict_lines

    return [table(matrix_table(done.evaluation), HEADER), "", *verdict_lines(done.evaluation)]


def _next(done: Quickstart, zoo: Path) -> list[str]:
    bundle, gallery = done.out / "query" / "query-encoder", done.out / "gallery"
    return [
        f"The report, with pictures: {done.out / 'report' / 'report.html'}",
        "Next:",
        f"  hetsearch search --gallery {gallery} --encoder {bundle} PICTURE.png",
        f"  hetsearch evaluate --query {zoo}/query-encoder --gallery {zoo}/gallery-encoder \\",
        f"    --free {zoo}/free-encoder --data fashion-mnist:test --out runs/report",
        "    (the released query encoder, trained for longer)",
        "  hetsearch index build --encoder … --images FOLDER --out GALLERY      your own pictures",
    ]
