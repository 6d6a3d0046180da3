"""hetsearch train gallery | query: train an encoder, and export it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from hetsearch.cli.console import emit, say, table

if TYPE_CHECKING:
    from hetsearch.training.finish import Trained

app = App(name="train", help="Train a gallery encoder (it defines a space) or a query encoder (for a space).")

Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]


@app.command
def gallery(
    config: Path,
    *overrides: Overrides,
    out: Path | None = None,
    compatible_with: Path | None = None,
    gallery_encoder: Path | None = None,
) -> None:
    """Train an encoder that defines a space: a gallery encoder, or a free encoder for comparison.

    Any key of the configuration can be given as --KEY VALUE (--schedule.epochs 3). An interrupted training resumes
    when the same command is given again.

    Parameters
    ----------
    config
        The recipe, YAML.
    out
        Folder of the run; default runs/NAME, NAME being the recipe's.
    compatible_with
        An older space: the new encoder's vectors shall be comparable with its vectors.
    gallery_encoder
        The older space's gallery encoder; default: gallery-encoder beside it.
    """
    from hetsearch.config import load_config
    from hetsearch.errors import UsageError
    from hetsearch.training.gallery import train_gallery
    from hetsearch.training.recipe import Recipe

    if gallery_encoder is not None and compatible_with is None:
        raise UsageError("--gallery-encoder is the older space's", hint="Give --compatible-with SPACE, or neither.")
    recipe = load_config(Recipe, config, overrides)
    run = out or Path("runs") / config.stem
    export_and_show(train_gallery(recipe, run, compatible_with=compatible_with, gallery_encoder=gallery_encoder))


@app.command
def query(
    config: Path,
    *overrides: Overrides,
    space: Path,
    gallery_encoder: Path | None = None,
    gallery_vectors: Path | None = None,
    arch: str | None = None,
    out: Path | None = None,
) -> None:
    """Train a query encoder into an existing space, backward-compatible with its gallery encoder.

    Any key of the configuration can be given as --KEY VALUE (--schedule.epochs 3). An interrupted training resumes
    when the same command is given again.

    Parameters
    ----------
    config
        The recipe, YAML.
    space
        A space's folder, or one that holds a space/.
    gallery_encoder
        The bundle that gives regression targets; default: gallery-encoder beside the space.
    gallery_vectors
        A gallery that holds the training images: its vectors stand in for the gallery encoder.
    arch
        An architecture of a search space (i3-c3-s3w50-…) in place of the recipe's: of the search space that the recipe
        names, else of the default one.
    out
        Folder of the run; default runs/NAME, NAME being the recipe's.
    """
    from hetsearch.config import load_config
    from hetsearch.errors import UsageError
    from hetsearch.training.architecture import with_architecture
    from hetsearch.training.query import train_query
    from hetsearch.training.recipe import Recipe

    if gallery_encoder is not None and gallery_vectors is not None:
        raise UsageError("--gallery-encoder and --gallery-vectors are two ways to the same", expected="one of them")
    recipe = load_config(Recipe, config, overrides)
    if arch is not None:
        recipe = with_architecture(recipe, arch)
    run = out or Path("runs") / config.stem
    trained = train_query(recipe, space, run, gallery_encoder=gallery_encoder, gallery_vectors=gallery_vectors)
    export_and_show(trained)


def export_and_show(trained: Trained) -> None:
    """Export what was trained, and show what it is worth on the validation split."""
    from hetsearch.export import export_bundle

    if not trained.first:
        return
    say(export_bundle(trained.bundle).sentence())
    metrics = {name: f"{value:.4f}" for name, value in trained.best.items() if name != "epoch"}
    row = [str(trained.bundle), trained.space, f"{trained.best['epoch'] + 1:.0f}", *metrics.values()]
    emit(table([row], ["encoder", "space", "best epoch", *(f"validation {name}" for name in metrics)]))
