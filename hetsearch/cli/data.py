"""``hetsearch data``: get a named set, look at a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from hetsearch.cli.console import emit, say, table
from hetsearch.files import dump_json

if TYPE_CHECKING:
    from hetsearch.data.check import CheckReport

SHOWN = 10  # unreadable images and duplicates that are written out; --json has all

app = App(name="data", help="Get a named set of images, or look at a source.")


@app.command
def fetch(name: str, *, out: Annotated[Path | None, Parameter(help="Put it into DIR/NAME.")] = None) -> None:
    """Get a named set (fashion-mnist, mnist, cifar10, emoji), without root, and verify its checksums.

    Prints the folder. Without --out it goes to the cache, where every command finds it; with --out DIR, set
    HETSEARCH_DATA=DIR. emoji is rendered from npm packages: pip install 'hetsearch[data]'.

    Args:
        name: the named set.
    """
    from hetsearch.data.fetch import fetch as fetch_set

    emit(str(fetch_set(name, out, tell=say)))


@app.command
def check(
    src: str, *, json: Annotated[bool, Parameter(help="The report as JSON.", negative="")] = False
) -> int:
    """Decode every image of a source and report counts, sizes, unreadable images and exact duplicates.

    Exit code 3 if an image cannot be read.

    Args:
        src: a folder, a CSV or Parquet manifest, or NAME:SPLIT (fashion-mnist:test).
    """
    from hetsearch.data.check import check as check_images
    from hetsearch.data.sources import open_source

    report = check_images(open_source(src))
    emit(dump_json(report.as_dict()).rstrip() if json else _text(report))
    return 3 if report.unreadable else 0


def _text(report: CheckReport) -> str:
    lines = [f"{report.source}: {report.n_images:,} images, {len(report.unreadable):,} unreadable"]
    for title, extent in (("smallest", report.smallest), ("largest", report.largest)):
        if extent is not None:
            lines.append(f"{title}: {extent.width} × {extent.height} pixels, {extent.key}")
    counted = (report.classes, report.splits, report.roles, report.domains)
    for title, counts in zip(("class", "split", "role", "domain"), counted, strict=True):
        if counts is not None:
            rows = [[name, f"{count:,}"] for name, count in counts.items()]
            lines += ["", table(rows, [title, "images"])]
    if report.n_groups is not None:
        lines += ["", f"{report.n_groups:,} groups"]
    unreadable = [f"{failure.key}: {failure.reason}" for failure in report.unreadable]
    lines += _listing("unreadable", unreadable)
    lines += _listing("the same bytes", [" = ".join(keys) for keys in report.duplicates])
    return "\n".join(lines)


def _listing(title: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    more = [f"  … and {len(entries) - SHOWN:,} more (--json has all)"] if len(entries) > SHOWN else []
    return ["", f"{title}: {len(entries):,}", *(f"  {entry}" for entry in entries[:SHOWN]), *more]
