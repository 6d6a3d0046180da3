"""``hetsearch evaluate``: is a query encoder compatible with the gallery's, is it useful, what does it cost?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hetsearch.cli.console import emit, say, table
from hetsearch.files import dump_json, make_folder, read_json

if TYPE_CHECKING:
    from hetsearch.space import EmbeddingSpace

# The names stand here, not in the docstring of the command: its help shows the parameters' words.
GATE_HELP = (
    "A gate: exit code 4 if this holds, or is undefined, for any query encoder. May be repeated. Figures of the report "
    "and numbers, compared, joined by and, or, not: 'retention.map < 0.98', 'nfr@1 > 0.02 or compatible.map != true', "
    "'M(q,g).map < baseline.M(q,g).map - 0.005'. Figures: compatible, useful, retention, gain, paragon, M(q,g), "
    "M(q,q), M(g,g), M(q*,q*), M(q*,g), each with .p@1, .r@10, .map or .map@r (retention and M also with .low or "
    ".high after it: the 95 % interval); nfr@1, pfr@1, worst.nfr@1, nfr@1[CLASS]; q.macs, q.params, q.bytes, "
    "q.latency_ms; M(q,g).tar@1e-3, M(q,g).tpir@1e-2; n_queries. defined(NAME) tells whether a figure is not null."
)
Bundles = Annotated[list[Path], Parameter(consume_multiple=True, negative="")]


def evaluate(
    *,
    query: Annotated[Bundles, Parameter(help="Query encoders: bundles of the gallery encoder's space.")],
    gallery: Annotated[Path, Parameter(help="The gallery ENCODER: a bundle, not a folder of vectors.")],
    data: Annotated[str, Parameter(help="Labelled images: a folder, a manifest, or NAME:SPLIT.")],
    free: Annotated[Bundles | None, Parameter(help="Free encoders; the first is the baseline.")] = None,
    out: Annotated[Path | None, Parameter(help="Write report.json, CSV and report.html there.")] = None,
    baseline: Annotated[
        Path | None, Parameter(help="An older report.json of the same data and space: show the differences.")
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        Parameter(help=GATE_HELP, negative=""),
    ] = None,
    verification: Annotated[bool, Parameter(help="Measure TAR at FAR over all pairs too.", negative="")] = False,
    open_set: Annotated[
        bool, Parameter(help="Measure TPIR at FPIR too: queries without a relevant item are impostors.", negative="")
    ] = False,
    upgrade_from: Annotated[
        Path | None,
        Parameter(help="The older gallery encoder: draw quality against the share of its vectors that is replaced."),
    ] = None,
    space: Annotated[
        Path | None, Parameter(help="The gallery encoder's space, for the order 'gain'; default: beside its bundle.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print report.json.", negative="")] = False,
) -> int:
    """Measure query encoders against a gallery encoder, exactly, and give the verdict.

    Here --gallery names the gallery encoder's bundle; in every other command it names a gallery of vectors.

    Without roles every image is query and item and its own key is left out; with a manifest's roles, queries
    are searched among the gallery's images. Exit code 3 if an image cannot be read, 4 if a query encoder
    belongs to another space or a gate is not met. Every query encoder must pass every gate; a figure that is null
    makes a gate fail, unless the rest decides or defined(NAME) allows it.
    """
    from hetsearch.data.sources import open_source
    from hetsearch.evaluation import evaluate as measure
    from hetsearch.evaluation import write_evaluation
    from hetsearch.evaluation.gates.release import Release, require_gates
    from hetsearch.evaluation.report.words import HEADER, asked_lines, matrix_table, verdict_lines
    from hetsearch.runtime import load_encoder
    from hetsearch.runtime.threads import available_threads

    images = open_source(data)
    # The tiny networks gain nothing from a pool of threads; the large one does.
    encoders = [load_encoder(path) for path in query]
    heavy = load_encoder(gallery, threads=available_threads())
    baselines = [(encoder.name, encoder) for encoder in map(load_encoder, free or [])]
    older = None if upgrade_from is None else load_encoder(upgrade_from, threads=available_threads())
    known = None if older is None else _space(gallery, space)
    more = {"verification": verification, "open_set": open_set}
    release = Release.plan(images, heavy.space, fail_if or (), baseline, out=out, **more)
    if out is not None:
        make_folder(out)
    command = shlex.join(["hetsearch", *sys.argv[1:]])
    measured = measure(encoders, heavy, images, baselines, **more, older=older, space=known, command=command)
    found = release.judge(measured)
    if out is not None:
        for path in write_evaluation(found, out, images):
            say(f"wrote {path}")
    if json:
        document = found.as_dict() if out is None else read_json(out / "report.json", what="an evaluation report")
        emit(dump_json(document).rstrip())
    else:
        emit(table(matrix_table(found), HEADER))
        emit("\n".join(["", *verdict_lines(found), *asked_lines(found)]))
    failures = found.settings["failures"]
    for failure in failures:
        say(f"left out {failure['key']}: {failure['reason']}")
    require_gates(found.gates or ())
    return 3 if failures else 0


def _space(gallery: Path, space: Path | None) -> EmbeddingSpace | None:
    """The space that was named, or the one beside the gallery encoder's bundle, if there is one."""
    from hetsearch.space import EmbeddingSpace

    beside = gallery.resolve().parent
    if space is None and not (beside / "space" / "space.json").is_file():
        return None
    return EmbeddingSpace.load(space or beside)
