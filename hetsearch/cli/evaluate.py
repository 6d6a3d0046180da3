"""``hetsearch evaluate``: is a query encoder compatible with the gallery's, is it useful, what does it
cost?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hetsearch.cli.console import emit, say, table
from hetsearch.files import dump_json, make_folder, read_json

Bundles = Annotated[list[Path], Parameter(consume_multiple=True, negative="")]


def evaluate(
    *,
    query: Annotated[Bundles, Parameter(help="Query encoders: bundles of the gallery encoder's space.")],
    gallery: Annotated[Path, Parameter(help="The gallery ENCODER: a bundle, not a folder of vectors.")],
    data: Annotated[str, Parameter(help="Labelled images: a folder, a manifest, or NAME:SPLIT.")],
    free: Annotated[Bundles | None, Parameter(help="Free encoders; the first is the baseline.")] = None,
    out: Annotated[Path | None, Parameter(help="Write report.json, CSV and report.html there.")] = None,
    json: Annotated[bool, Parameter(help="Print report.json.", negative="")] = False,
) -> int:
    """Measure query encoders against a gallery encoder, exactly, and give the verdict.

    Here --gallery names the gallery encoder's bundle; in every other command it names a gallery of vectors.

    Without roles every image is query and item and its own key is left out; with a manifest's roles, queries
    are searched among the gallery's images. Exit code 3 if an image cannot be read, 4 if a query encoder
    belongs to another space.
    """
    from hetsearch.data.sources import open_source
    from hetsearch.evaluation import evaluate as measure
    from hetsearch.evaluation import write_evaluation
    from hetsearch.evaluation.words import HEADER, matrix_table, verdict_lines
    from hetsearch.runtime import load_encoder
    from hetsearch.runtime.threads import available_threads

    # The tiny networks gain nothing from a pool of threads; the large one does.
    encoders = [load_encoder(path) for path in query]
    heavy = load_encoder(gallery, threads=available_threads())
    baselines = [(encoder.name, encoder) for encoder in map(load_encoder, free or [])]
    images = open_source(data)
    if out is not None:
        make_folder(out)
    found = measure(encoders, heavy, images, baselines, command=shlex.join(["hetsearch", *sys.argv[1:]]))
    if out is not None:
        for path in write_evaluation(found, out, images):
            say(f"wrote {path}")
    if json:
        document = found.as_dict() if out is None else read_json(out / "report.json", what="an evaluation report")
        emit(dump_json(document).rstrip())
    else:
        emit(table(matrix_table(found), HEADER))
        emit("\n".join(["", *verdict_lines(found)]))
    failures = found.settings["failures"]
    for failure in failures:
        say(f"left out {failure['key']}: {failure['reason']}")
    return 3 if failures else 0
