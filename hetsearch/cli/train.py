"""hetsearch train gallery | query: train an encoder, and export it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from hetsearch.cli.console import say

app = App(name="train", help="Train a gallery encoder (it defines a space) or a query encoder (for a space).")

Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]


@app.command
def gallery(config: Path, *overrides: Overrides, out: Path | None = None) -> None:
    """Train an encoder that defines a space: a gallery encoder, or a free encoder for comparison.

    Any key of the configuration can be given as --KEY VALUE (--schedule.epochs 3). An interrupted training resumes
    when the same command is given again.

    Parameters
    ----------
    config
        The recipe, YAML.
    out
        Folder of the run; default runs/NAME, NAME being the recipe's.
    """
    from hetsearch.config import load_config
    from hetsearch.export import export_bundle
    from hetsearch.training.gallery import train_gallery
    from hetsearch.training.recipe import Recipe

    recipe = load_config(Recipe, config, overrides)
    trained = train_gallery(recipe, out or Path("runs") / config.stem)
    say(f"space {trained.space}; best epoch {trained.best}")
    say(export_bundle(trained.bundle).sentence())


@app.command
def query(
    config: Path,
    *overrides: Overrides,
    space: Path,
    gallery_encoder: Path | None = None,
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
    out
        Folder of the run; default runs/NAME, NAME being the recipe's.
    """
    from hetsearch.config import load_config
    from hetsearch.export import export_bundle
    from hetsearch.training.query import train_query
    from hetsearch.training.recipe import Recipe

    recipe = load_config(Recipe, config, overrides)
    trained = train_query(recipe, space, out or Path("runs") / config.stem, gallery_encoder=gallery_encoder)
    say(f"space {trained.space}; best epoch {trained.best}")
    say(export_bundle(trained.bundle).sentence())
