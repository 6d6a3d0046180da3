"""``hetsearch index``: make a gallery, look whether it is whole."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from hetsearch.cli.console import emit, say, table
from hetsearch.files import dump_json

if TYPE_CHECKING:
    from hetsearch.gallery import BuildReport

SHOWN = 10  # unreadable images that are written out; failures.parquet has all

app = App(name="index", help="Make a gallery of images, or look whether one is whole.")


@app.command
def build(
    *,
    encoder: Annotated[Path, Parameter(help="Encoder bundle that makes the vectors.")],
    images: Annotated[str, Parameter(help="A folder, a CSV or Parquet manifest, or NAME:SPLIT.")],
    out: Annotated[Path, Parameter(help="Folder of the gallery.")],
    store: Annotated[str, Parameter(help="Kind of store.")] = "faiss",
    factory: Annotated[str, Parameter(help="FAISS index, e.g. Flat (exact), HNSW32, IVF256,Flat.")] = "Flat",
    limit: Annotated[int | None, Parameter(help="Take only the first so many images.")] = None,
    on_error: Annotated[
        Literal["skip", "fail"], Parameter(help="Record an image that cannot be read, or stop at it.")
    ] = "skip",
    max_errors: Annotated[int | None, Parameter(help="Stop when more images cannot be read.")] = None,
    threads: Annotated[int | None, Parameter(help="Threads of the encoder; default: every core.")] = None,
    json: Annotated[bool, Parameter(help="The report as JSON.", negative="")] = False,
) -> int:
    """Embed images with an encoder and make a searchable gallery of them.

    A finished gallery of the same images and space is left as it is. Exit code 3 if an image could not be
    read; embeddings/failures.parquet names it with the reason.
    """
    from hetsearch.data.sources import open_source
    from hetsearch.gallery import build_gallery
    from hetsearch.runtime import load_encoder
    from hetsearch.runtime.threads import available_threads

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        report = build_gallery(
            load_encoder(encoder, threads=available_threads() if threads is None else threads),
            open_source(images),
            out,
            store=store,
            factory=factory,
            limit=limit,
            on_error=on_error,
            max_errors=max_errors,
        )
    for warning in caught:
        say(f"hetsearch: warning: {warning.message}")
    for failure in report.failures[:SHOWN]:
        say(f"hetsearch: not read: {failure.key}: {failure.reason}")
    if len(report.failures) > SHOWN:
        say(f"hetsearch: … and {len(report.failures) - SHOWN:,} more in embeddings/failures.parquet")
    emit(dump_json(report.as_dict()).rstrip() if json else _built(report))
    return report.exit_code


@app.command
def verify(
    gallery: Path, *, json: Annotated[bool, Parameter(help="The report as JSON.", negative="")] = False
) -> None:
    """Verify the checksums, counts and space of a gallery, and search for a sample of its own vectors.

    Args:
        gallery: folder of the gallery.
    """
    from hetsearch.gallery import verify_gallery

    report = verify_gallery(gallery)
    if json:
        emit(dump_json(report.as_dict()).rstrip())
        return
    rows = [
        ["space", report.space],
        ["vectors", f"{report.rows:,}"],
        ["files with their checksum", f"{report.files:,}"],
        ["images not read", f"{report.failures:,}"],
        [f"self-recall of {report.sample}", f"{report.self_recall:.3f}"],
        ["recall of the exact first ten", f"{report.recall:.3f}"],
    ]
    emit(table(rows, [str(report.gallery), "whole"]))


def _built(report: BuildReport) -> str:
    speed = report.images_per_second
    rows = [
        ["space", report.space],
        ["encoder", report.encoder],
        ["store", f"{report.store} {report.factory}"],
        ["vectors", f"{report.rows:,}"],
        ["images not read", f"{len(report.failures):,}"],
        ["size", f"{report.bytes / 1e6:,.2f} MB"],
        ["time", f"{report.seconds:.1f} s"],
        ["images/s", "-" if speed is None else f"{speed:,.0f}"],
    ]
    return table(rows, [str(report.gallery), "was finished" if report.done_before else "built"])
