"""``hetsearch index``: make a gallery, keep it up to date, look whether it is whole."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from hetsearch.cli.choices import candidates_text, choice_text
from hetsearch.cli.console import emit, say, table
from hetsearch.cli.index_upgrade import upgrade
from hetsearch.cli.jobs import SHOWN, loaded, opened, said, show_failures, warnings_said
from hetsearch.errors import UsageError
from hetsearch.files import dump_json

if TYPE_CHECKING:
    from hetsearch.gallery import BuildReport, Estimate, UpdateReport
    from hetsearch.gallery.embedding.embed import Runner

app = App(name="index", help="Make a gallery of images, keep it up to date, look whether it is whole.")
app.command(upgrade)


Ray = Annotated[
    str | None,
    Parameter(help="Embed on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, or local to try it on this machine."),
]


@app.command
def build(
    *,
    encoder: Annotated[Path, Parameter(help="Encoder bundle that makes the vectors.")],
    images: Annotated[str, Parameter(help="A folder, a CSV or Parquet manifest, or NAME:SPLIT.")],
    out: Annotated[Path, Parameter(help="Folder of the gallery.")],
    store: Annotated[str, Parameter(help="Kind of store: faiss, or milvus.")] = "faiss",
    uri: Annotated[
        str | None, Parameter(help="With milvus: http://HOST:PORT/NAME; default: a file in the gallery's folder.")
    ] = None,
    factory: Annotated[
        str, Parameter(help="FAISS index, e.g. Flat (exact), HNSW32, IVF256,Flat@nprobe=16; auto: the simplest that "
                       "meets the limits, measured on a sample of the vectors.")
    ] = "Flat",
    max_memory: Annotated[str | None, Parameter(help="With auto: bytes of the index, such as 2GB.")] = None,
    max_latency: Annotated[str | None, Parameter(help="With auto: time of one query, such as 5ms.")] = None,
    min_recall: Annotated[
        float | None, Parameter(help="With auto: share of the exact first ten that it finds. Default: 0.95.")
    ] = None,
    limit: Annotated[int | None, Parameter(help="Take only the first so many images.")] = None,
    on_error: Annotated[
        Literal["skip", "fail"], Parameter(help="Record an image that cannot be read, or stop at it.")
    ] = "skip",
    max_errors: Annotated[int | None, Parameter(help="Stop when more images cannot be read.")] = None,
    shard_rows: Annotated[int, Parameter(help="Images in a shard: the most that a kill costs.")] = 4096,
    workers: Annotated[
        int | None, Parameter(help="Processes that read images; 0 reads in this one. Default: half the cores.")
    ] = None,
    threads: Annotated[
        int | None, Parameter(help="Threads of the encoder; default: every core, or 1 in a worker of --ray.")
    ] = None,
    ray: Ray = None,
    dry_run: Annotated[
        bool, Parameter(help="Only say what it would cost: bytes, memory, time.", negative="")
    ] = False,
    json: Annotated[bool, Parameter(help="The report as JSON.", negative="")] = False,
) -> int:
    """Embed images with an encoder and make a searchable gallery of them.

    A job that was killed goes on where it was; a finished gallery of the same images and space is left as it is.
    Exit code 3 if an image could not be read; embeddings/failures.parquet names it with the reason.
    """
    from hetsearch.gallery import Limits, build_gallery, plan_gallery

    limits = Limits.parse(max_memory, max_latency, min_recall)
    with warnings_said():
        job = (loaded(encoder, threads), opened(images), out)
        what: Any = {
            "store": store, "uri": uri, "factory": factory, "limits": limits, "limit": limit, "shard_rows": shard_rows,
            "workers": workers,
        }  # fmt: skip
        if dry_run:
            return _show_estimate(plan_gallery(*job, **what), json)
        report = build_gallery(
            *job, on_error=on_error, max_errors=max_errors, say=said, runner=_runner(ray, threads), **what
        )
    show_failures(report.failures)
    emit(dump_json(report.as_dict()).rstrip() if json else _built(report))
    return report.exit_code


Rebuild = Annotated[
    bool, Parameter(help="Make the index anew from the stored vectors, not in place.", negative="")
]
Json = Annotated[bool, Parameter(help="The report as JSON.", negative="")]


@app.command
def update(
    gallery: Path,
    *,
    encoder: Annotated[Path, Parameter(help="Encoder bundle that made the gallery's vectors.")],
    images: Annotated[str, Parameter(help="A folder, a CSV or Parquet manifest, or NAME:SPLIT.")],
    keep: Annotated[
        bool, Parameter(help="Keep the items that are not listed: only add and change.", negative="")
    ] = False,
    rebuild: Rebuild = False,
    on_error: Annotated[
        Literal["skip", "fail"], Parameter(help="Record an image that cannot be read, or stop at it.")
    ] = "skip",
    max_errors: Annotated[int | None, Parameter(help="Stop when more images cannot be read.")] = None,
    workers: Annotated[
        int | None, Parameter(help="Processes that read images; 0 reads in this one. Default: half the cores.")
    ] = None,
    threads: Annotated[
        int | None, Parameter(help="Threads of the encoder; default: every core, or 1 in a worker of --ray.")
    ] = None,
    ray: Ray = None,
    dry_run: Annotated[bool, Parameter(help="Only say what would be done.", negative="")] = False,
    json: Json = False,
) -> int:
    """Make a gallery hold what is listed now; only pictures that it does not know are embedded.

    Images are told apart by their key and by the hash of their file: new, changed, renamed, removed. Searches go on
    in the old generation until the new one is in place. Exit code 3 if an image could not be read.

    Args:
        gallery: folder of the gallery.
    """
    from hetsearch.gallery import update_gallery

    with warnings_said():
        report = update_gallery(
            gallery, loaded(encoder, threads), opened(images), remove=not keep, rebuild=rebuild, on_error=on_error,
            max_errors=max_errors, workers=workers, dry_run=dry_run, say=said, runner=_runner(ray, threads),
        )  # fmt: skip
    return _show_update(report, json)


@app.command
def delete(
    gallery: Path,
    keys: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    *,
    keys_from: Annotated[Path | None, Parameter(help="A file with a key in each line.")] = None,
    rebuild: Rebuild = False,
    json: Json = False,
) -> int:
    """Delete items of a gallery by key. A key that is not there is named and no error.

    Args:
        gallery: folder of the gallery.
        keys: of the items.
    """
    from hetsearch.gallery import delete_items

    wanted = (*keys, *(_lines(keys_from) if keys_from else ()))
    if not wanted:
        raise UsageError("no key is given", expected="KEYS, or --keys-from FILE")
    with warnings_said():
        report = delete_items(gallery, wanted, rebuild=rebuild, say=said)
    for key in report.absent[:SHOWN]:
        say(f"hetsearch: not there: {key}")
    if len(report.absent) > SHOWN:
        say(f"hetsearch: … and {len(report.absent) - SHOWN:,} more")
    _show_update(report, json)
    return 0  # images that could not be read when the gallery was built are no matter of this job


@app.command
def compact(gallery: Path, *, json: Json = False) -> None:
    """Write a gallery's shards and index anew without the rows that updates and deletions left behind.

    Args:
        gallery: folder of the gallery.
    """
    from hetsearch.gallery import compact_gallery

    with warnings_said():
        report = compact_gallery(gallery, say=said)
    if json:
        emit(dump_json(report.as_dict()).rstrip())
        return
    rows = [
        ["vectors", f"{report.rows:,}"],
        ["rows dropped", f"{report.dropped:,}"],
        ["shards before", f"{report.shards_before:,}"],
        ["generation", str(report.generation)],
        ["size before", f"{report.bytes_before / 1e6:,.2f} MB"],
        ["size", f"{report.bytes / 1e6:,.2f} MB"],
    ]
    emit(table(rows, [str(report.gallery), "nothing to do" if report.nothing else "compacted"]))


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
        *([f"vectors of {space}", f"{count:,}"] for space, count in report.spaces.items()),
        ["files with their checksum", f"{report.files:,}"],
        ["images not read", f"{report.failures:,}"],
        [f"self-recall of {report.sample}", f"{report.self_recall:.3f}"],
        ["recall of the exact first ten", f"{report.recall:.3f}"],
    ]
    emit(table(rows, [str(report.gallery), "whole"]))


def _runner(address: str | None, threads: int | None) -> Runner:
    from hetsearch.gallery.embedding.embed import run_here
    from hetsearch.gallery.embedding.ray_embed import RayRunner

    return run_here if address is None else RayRunner(address, threads=threads or 1)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets and editors put a byte order mark before it
    except (OSError, UnicodeDecodeError) as error:
        observed = getattr(error, "strerror", None) or "not UTF-8"
        raise UsageError(f"'{path}' cannot be read", observed=observed, expected="a key in each line") from None
    # Not splitlines: it also splits at signs that a key may hold.
    return [line for line in text.split("\n") if line]


def _show_update(report: UpdateReport, json: bool) -> int:
    show_failures(report.failures)
    if json:
        emit(dump_json(report.as_dict()).rstrip())
        return report.exit_code
    rows = [
        ["to embed" if report.dry_run else "embedded", f"{report.to_embed if report.dry_run else report.embedded:,}"],
        ["vectors used again", f"{report.copied:,}"],
        ["vectors", f"{report.rows:,}"],
        ["generation", str(report.generation)],
        ["size", f"{report.bytes / 1e6:,.2f} MB"],
        ["time", f"{report.seconds:.1f} s"],
    ]
    state = "dry run" if report.dry_run else "nothing to do" if report.nothing else "updated"
    emit(report.line)
    emit(table(rows, [str(report.gallery), state]))
    return report.exit_code


def _show_estimate(expected: Estimate, json: bool) -> int:
    """The plan of a job; 2, as the job itself would give, if disk or memory have no room for it."""
    speed, seconds = expected.images_per_second, expected.seconds
    megabytes = {
        "bytes of shards": expected.shard_bytes, "of the index": expected.index_bytes,
        "of the items": expected.item_bytes, "still to write": expected.needed_bytes,
        "free on the disk": expected.free_bytes, "memory": expected.memory_bytes,
    }  # fmt: skip
    rows = [
        ["images", f"{expected.images:,}"],
        ["shards", f"{expected.shards:,}"],
        ["of these there already", f"{expected.shards_there:,}"],
        *([name, f"{count / 1e6:,.2f} MB"] for name, count in megabytes.items()),
        ["images/s", "-" if speed is None else f"{speed:,.1f}"],
        ["time to embed", "-" if seconds is None else f"{seconds:,.0f} s"],
    ]
    text = table(rows, [str(expected.gallery), "planned"])
    if expected.candidates:
        text += f"\n\n{candidates_text(expected.candidates)}"
    emit(dump_json(expected.as_dict()).rstrip() if json else text)
    if not expected.fits:
        say(f"hetsearch: the {expected.lacking} has no room for this job")
    return 0 if expected.fits else 2


def _built(report: BuildReport) -> str:
    speed = report.images_per_second
    rows = [
        ["space", report.space],
        ["encoder", report.encoder],
        ["store", f"{report.store} {report.factory}"],
        ["vectors", f"{report.rows:,}"],
        ["images not read", f"{len(report.failures):,}"],
        ["shards embedded before", f"{report.reused:,}"],
        ["size", f"{report.bytes / 1e6:,.2f} MB"],
        ["time", f"{report.seconds:.1f} s"],
        ["images/s", "-" if speed is None else f"{speed:,.0f}"],
    ]
    text = table(rows, [str(report.gallery), "was finished" if report.done_before else "built"])
    return f"{text}\n\n{choice_text(report.choice)}" if report.choice else text
