"""``hetsearch blend``: a gallery encoder that holds a share of the query encoder, for the gallery's jobs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from hetsearch.cli.console import emit, say, table
from hetsearch.errors import UsageError
from hetsearch.files import dump_json

if TYPE_CHECKING:
    from hetsearch.evaluation.blending import Choice


def blend(
    gallery_encoder: Path,
    query_encoder: Path,
    *,
    out: Annotated[Path, Parameter(help="Folder of the new bundle.")],
    data: Annotated[
        str | None, Parameter(help="Choose the share on these labelled images: SRC, for validation.")
    ] = None,
    share: Annotated[
        float | None, Parameter(help="Of the query encoder, between 0 and 1; nothing is measured.")
    ] = None,
    json: Annotated[bool, Parameter(help="The result as JSON.", negative="")] = False,
) -> int:
    """Blend a gallery encoder with a query encoder of its space into one gallery encoder.

    The query encoder stays as it is: its queries are searched among the blended vectors, and may find more there, for
    the small network's MACs in the gallery's job. Build the gallery with the new bundle. With --data the share is the
    one of 0.1, 0.2 … 0.9 with the best mAP, and exit code 4 says that none is better than the gallery encoder alone
    beyond doubt (the 95 % interval of the paired difference); exit code 3, that an image could not be read.

    Args:
        gallery_encoder: bundle of the gallery encoder.
        query_encoder: bundle of the query encoder.
    """
    from hetsearch.evaluation.blending import choose_share, require_better
    from hetsearch.export.blend import REFERENCE, blend_bundles, require_blendable
    from hetsearch.runtime import load_encoder
    from hetsearch.runtime.threads import available_threads
    from hetsearch.space import require_share

    if (data is None) == (share is None):
        raise UsageError("the share is chosen on images, or given", expected="--data SRC or --share X, one of them")
    if share is not None:
        require_share(share)
    heavy, light = load_encoder(gallery_encoder, threads=available_threads()), load_encoder(query_encoder)
    require_blendable(heavy, light, out)
    choice = None
    if data is not None:
        from hetsearch.data.sources import open_source

        choice = choose_share(heavy, light, open_source(data))
        share = choice.share
        if not json:
            emit(_table(choice))
        for failure in choice.failures:
            say(f"left out {failure.key}: {failure.reason}")
        require_better(choice)
    assert share is not None  # one of the two was given
    measured = None if choice is None else choice.as_dict()
    command = shlex.join(["hetsearch", *sys.argv[1:]])
    parity = blend_bundles(heavy, light, out, share, measured=measured, command=command)
    if json:
        emit(dump_json({"bundle": str(out), "share": share, "choice": measured, "parity": parity.as_dict()}).rstrip())
    else:
        emit(parity.sentence(REFERENCE))
    say(f"wrote {out}")
    return 3 if choice is not None and choice.failures else 0


def _table(choice: Choice) -> str:
    metrics = list(choice.scores[choice.share])
    rows = [
        [f"{share:.1f}{' (M(q,g))' if not share else ' best' if share == choice.share else ''}"]
        + [f"{row[metric]:.4f}" for metric in metrics]
        for share, row in choice.scores.items()
    ]
    return f"{table(rows, ['share', *metrics])}\n\n{choice.sentence()}"
