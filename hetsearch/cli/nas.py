"""hetsearch nas train | search | run: find the query architecture that fits a space best, under a budget."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from hetsearch.cli.console import emit, say, table

if TYPE_CHECKING:
    from hetsearch.nas.job import Job, Searched

app = App(name="nas", help="Search for the query architecture that is most compatible with a space, under a budget.")

METHODS = {"evolution": "evolution", "random": "random search", "nsga2": "NSGA-II"}
Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]


@app.command
def train(
    config: Path, *overrides: Overrides, space: Path, gallery_encoder: Path | None = None, out: Path | None = None
) -> None:
    """Train the supernet of a search. The same command goes on with an interrupted training.

    Any key of the configuration can be given as --KEY VALUE (--budget.macs 2e6).

    Parameters
    ----------
    config
        The search, YAML.
    space
        A space's folder, or one that holds a space/.
    gallery_encoder
        The bundle that gives regression targets and rewards; default: gallery-encoder beside the space.
    out
        Folder of the run; default runs/nas-NAME, NAME being the configuration's.
    """
    job = _job(config, overrides, space, gallery_encoder, out)
    job.check()
    emit(str(job.train()))


@app.command
def search(
    config: Path,
    *overrides: Overrides,
    space: Path,
    supernet: Path | None = None,
    gallery_encoder: Path | None = None,
    out: Path | None = None,
    json: Annotated[bool, Parameter(help="Print nas.json.", negative="")] = False,
) -> None:
    """Search with a trained supernet. The same command goes on with an interrupted search.

    Any key of the configuration can be given as --KEY VALUE (--reward.kind R2).

    Parameters
    ----------
    config
        The search, YAML.
    space
        A space's folder, or one that holds a space/.
    supernet
        Folder of the supernet; default OUT/supernet.
    gallery_encoder
        The bundle that gives rewards; default: gallery-encoder beside the space.
    out
        Folder of the run; default runs/nas-NAME, NAME being the configuration's.
    """
    job = _job(config, overrides, space, gallery_encoder, out)
    found = job.search(supernet or job.supernet)
    if json:
        emit(found.report.read_text(encoding="utf-8").rstrip())
    else:
        _show(found)
    named = [] if gallery_encoder is None else ["--gallery-encoder", str(gallery_encoder)]
    folders = ["--space", str(space), *named, "--out", str(job.winner)]
    say(f"train the winner with: {shlex.join(['hetsearch', 'train', 'query', str(found.recipe), *folders])}")


@app.command
def run(
    config: Path,
    *overrides: Overrides,
    space: Path,
    supernet: Path | None = None,
    gallery_encoder: Path | None = None,
    out: Path | None = None,
) -> int:
    """Train the supernet, search, train the winner from scratch, export it, and evaluate it on the test images.

    The same command goes on wherever it was interrupted. Any key of the configuration can be given as --KEY VALUE
    (--search.seed 1).

    Parameters
    ----------
    config
        The search, YAML.
    space
        A space's folder, or one that holds a space/.
    supernet
        Folder of a trained supernet, of the same search space and no smaller budget; default: one is trained.
    gallery_encoder
        The gallery encoder's bundle; default: gallery-encoder beside the space.
    out
        Folder of the run; default runs/nas-NAME, NAME being the configuration's.
    """
    from hetsearch.cli.train import export_and_show
    from hetsearch.config import load_config
    from hetsearch.training.query import train_query
    from hetsearch.training.recipe import Recipe

    job = _job(config, overrides, space, gallery_encoder, out)
    job.check_searches()
    found = job.search(supernet or job.train())
    _show(found)
    recipe = load_config(Recipe, found.recipe)
    epochs, rate = recipe.schedule.epochs, recipe.optimizer.lr
    say(f"training the winner, {found.winner}, for {epochs} epochs at a learning rate of {rate:g}")
    trained = train_query(recipe, space, job.winner, gallery_encoder=gallery_encoder)
    if not trained.first:
        return 0
    emit("")
    export_and_show(trained)
    for line in job.compare_with_budget(trained.bundle):
        say(line)
    return 0 if job.config.test is None else _evaluate(job, trained.bundle)


def _job(
    config: Path, overrides: tuple[str, ...], space: Path, gallery_encoder: Path | None, out: Path | None
) -> Job:
    from hetsearch.config import load_config
    from hetsearch.nas.config import NasConfig
    from hetsearch.nas.job import Job

    checked = load_config(NasConfig, config, overrides)
    return Job(checked, space, out or Path("runs") / f"nas-{config.stem}", gallery_encoder)


def _show(found: Searched) -> None:
    columns = ["arch", *(name for name in found.rows[0] if name not in ("arch", "bytes"))]
    emit(table([[_cell(row[name]) for name in columns] for row in found.rows], columns))
    methods = [
        [METHODS[name], f"{one['reward']:.4f}", str(one["measured"]), one["arch"]]
        for name, one in found.methods.items()
    ]
    emit("")
    emit(table(methods, ["method", "best reward", "measured", "arch"]))
    emit("")
    emit(f"winner: {found.winner}" + ("" if found.rate is None else f", at a learning rate of {found.rate:g}"))
    for path in (found.report, found.recipe, *found.front):
        say(f"wrote {path}")


def _cell(value: Any) -> str:
    if value is None:  # no finalist
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _evaluate(job: Job, bundle: Path) -> int:
    from hetsearch.data.sources import open_source
    from hetsearch.evaluation import evaluate, write_evaluation
    from hetsearch.evaluation.report.words import HEADER, matrix_table, verdict_lines
    from hetsearch.runtime import OnnxEncoder, load_encoder

    heavy = job.joining.reference.encoder
    if not isinstance(heavy, OnnxEncoder):
        say("not evaluated: there is no gallery encoder; name it with --gallery-encoder")
        return 0
    assert job.config.test is not None  # the caller looked
    images = open_source(job.config.test)
    found = evaluate([load_encoder(bundle)], heavy, images, command=shlex.join(["hetsearch", *sys.argv[1:]]))
    for path in write_evaluation(found, job.out / "report", images):
        say(f"wrote {path}")
    emit("")
    emit(table(matrix_table(found), HEADER))
    emit("\n".join(["", *verdict_lines(found)]))
    return 3 if found.settings["failures"] else 0
