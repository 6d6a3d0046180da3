"""``hetsearch index upgrade``: a new gallery encoder in front of the vectors that are there, without indexing again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from hetsearch.cli.console import emit, say, table
from hetsearch.cli.jobs import loaded, opened, said, show_failures, warnings_said
from hetsearch.errors import UsageError
from hetsearch.files import dump_json

if TYPE_CHECKING:
    from hetsearch.gallery import UpgradeReport
    from hetsearch.space import EmbeddingSpace

Flag = Annotated[bool, Parameter(negative="")]


def upgrade(
    gallery: Path,
    *,
    encoder: Annotated[Path | None, Parameter(help="Bundle of the new gallery encoder.")] = None,
    space: Annotated[Path | None, Parameter(help="Its space; default: 'space' beside the bundle.")] = None,
    backfill: Annotated[Flag, Parameter(help="Embed items again that still have an older vector.")] = False,
    images: Annotated[str | None, Parameter(help="Where their pictures are; default: what it was built from.")] = None,
    order: Annotated[
        Literal["random", "gain"], Parameter(help="By chance, or first what lies between classes of the new space.")
    ] = "random",
    share: Annotated[float | None, Parameter(help="Stop when so much of the gallery is new, 0 to 1.")] = None,
    limit: Annotated[int | None, Parameter(help="Embed at most so many items now.")] = None,
    step: Annotated[int | None, Parameter(help="Items between two switches; default: a twentieth of all.")] = None,
    rebuild: Annotated[Flag, Parameter(help="Make the index anew at each switch, not in place.")] = False,
    on_error: Annotated[
        Literal["skip", "fail"], Parameter(help="Record an image that cannot be read, or stop at it.")
    ] = "skip",
    max_errors: Annotated[int | None, Parameter(help="Stop when more images cannot be read.")] = None,
    workers: Annotated[
        int | None, Parameter(help="Processes that read images; 0 reads in this one. Default: half the cores.")
    ] = None,
    threads: Annotated[int | None, Parameter(help="Threads of the encoder; default: every core.")] = None,
    rollback: Annotated[Flag, Parameter(help="Go back to the older space and its vectors.")] = False,
    commit: Annotated[Flag, Parameter(help="Give up the way back, and the vectors kept for it.")] = False,
    dry_run: Annotated[Flag, Parameter(help="With --backfill: only say how much there is to do.")] = False,
    json: Annotated[Flag, Parameter(help="The report as JSON.")] = False,
) -> int:
    """Put a new gallery encoder in front of a gallery's vectors at once, and embed these again when there is time.

    The new encoder must be trained with 'hetsearch train gallery --compatible-with OLD_SPACE': its space declares the
    older one, or the upgrade is refused with exit code 4. From the switch on, queries and updates come from the new
    space, so have a query encoder of it ready. With --backfill older items are embedded again, in steps; searches gain
    with each, and a job that was killed goes on where it was. Replaced vectors stay on the disk: --rollback takes them
    back, and only --commit lets them go (compact frees the room). Items that came or changed after the switch leave at
    a rollback, and 'index update' with the older encoder brings them back. In Milvus, each switch fills a new
    collection from the vectors on the disk, the first one too. Exit code 3 if an image could not be read.

    Args:
        gallery: folder of the gallery.
    """
    ways = {"--backfill": backfill, "--rollback": rollback, "--commit": commit}
    chosen = [name for name, given in ways.items() if given]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other", expected="one of them at a time")
    asked = {
        "--images": images, "--order": order != "random", "--share": share, "--limit": limit, "--step": step,
        "--dry-run": dry_run,
    }  # fmt: skip
    for name, given in asked.items():
        if given and not backfill:
            raise UsageError(f"{name} belongs to a back-fill", hint="Add --backfill.")
    with warnings_said():
        if backfill:
            how: Any = {
                "order": order, "share": share, "limit": limit, "step": step, "rebuild": rebuild,
                "on_error": on_error, "max_errors": max_errors, "workers": workers, "dry_run": dry_run,
            }  # fmt: skip
            report = _backfilled(gallery, _named(encoder), space, images, threads, how)
        elif rollback or commit:
            report = _settled(gallery, commit, rebuild)
        else:
            report = _switched(gallery, _named(encoder), space, threads)
    return _show(report, json)


def _named(encoder: Path | None) -> Path:
    if encoder is None:
        raise UsageError("the new gallery encoder is not named", expected="--encoder BUNDLE")
    return encoder


def _space(encoder: Path, space: Path | None) -> EmbeddingSpace:
    from hetsearch.space import EmbeddingSpace

    beside = encoder.resolve().parent
    if space is None and not (beside / "space" / "space.json").is_file():
        raise UsageError(
            f"there is no space beside '{encoder}'",
            expected=f"'{beside / 'space'}', as 'hetsearch train gallery' writes it",
            hint="Name it with --space DIR.",
        )
    return EmbeddingSpace.load(space or beside)


def _switched(gallery: Path, encoder: Path, space: Path | None, threads: int | None) -> UpgradeReport:
    from hetsearch.gallery import upgrade_gallery

    return upgrade_gallery(gallery, loaded(encoder, threads), _space(encoder, space), say=said)


def _backfilled(
    gallery: Path, encoder: Path, space: Path | None, images: str | None, threads: int | None, how: dict[str, Any]
) -> UpgradeReport:
    from hetsearch.gallery import backfill_gallery
    from hetsearch.gallery.card import read_card

    known = _space(encoder, space) if how["order"] == "gain" else None
    listed = opened(images or read_card(gallery).images)
    return backfill_gallery(gallery, loaded(encoder, threads), listed, space=known, say=said, **how)


def _settled(gallery: Path, commit: bool, rebuild: bool) -> UpgradeReport:
    from hetsearch.gallery import commit_upgrade, rollback_upgrade

    return commit_upgrade(gallery, say=said) if commit else rollback_upgrade(gallery, rebuild=rebuild, say=said)


def _show(report: UpgradeReport, json: bool) -> int:
    show_failures(report.failures)
    if report.absent:
        say(f"hetsearch: {report.absent:,} items are not listed and keep their older vector; see 'index update'")
    if report.lost:
        say(
            f"hetsearch: {report.lost:,} items have no older vector and left; 'index update' with the older encoder "
            f"brings them back"
        )
    if json:
        emit(dump_json(report.as_dict()).rstrip())
        return report.exit_code
    rows = [
        ["space", report.space],
        ["can be rolled back to", report.former or "-"],
        *([f"vectors of {space}", f"{count:,}"] for space, count in report.spaces.items()),
        ["share of its own space", f"{report.share:.4f}"],
        ["to embed" if report.dry_run else "embedded", f"{report.to_embed if report.dry_run else report.embedded:,}"],
        ["shards embedded before", f"{report.reused:,}"],
        ["vectors taken back", f"{report.restored:,}"],
        ["generation", str(report.generation)],
        ["size", f"{report.bytes / 1e6:,.2f} MB"],
        ["time", f"{report.seconds:.1f} s"],
    ]
    state = "dry run" if report.dry_run else "nothing to do" if report.nothing else "done"
    emit(table(rows, [str(report.gallery), state]))
    return report.exit_code
