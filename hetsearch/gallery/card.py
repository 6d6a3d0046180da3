"""What ``gallery.json`` says: the file that makes a folder a gallery, written last.

It names the files of one generation. An update writes those of the next beside them and then ``gallery.json`` anew:
whoever opens the gallery gets the old generation or the new one, never a mixture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.files import dump_json, read_json, write_json
from hetsearch.gallery.choosing.choice import Choice
from hetsearch.gallery.manifest import generation_name
from hetsearch.preprocess import InputSpec

SCHEMA = 3
CARD = "gallery.json"
ITEMS = "items.parquet"
SPACE = "space"  # the column of the items in a gallery of several spaces
SEAL = "seal"
EMBEDDINGS = "embeddings"

Result = TypeVar("Result")


class Superseded(DamagedArtifact):
    """What a card names is not there, perhaps because a job has switched to the next generation since."""


class Former(BaseModel):
    """What a gallery was before it was upgraded, and can be again while its vectors of then are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str
    spaces: dict[str, int]
    encoder: str
    input: InputSpec
    weights: str  # of the encoder, see weights_of


class GalleryCard(BaseModel):
    """A gallery: whose vectors, in which store, how many, from which images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str  # that queries must come from, and that new vectors lie in
    dim: int
    encoder: str  # name of the encoder that made the vectors
    input: InputSpec  # what that encoder takes
    store: str
    factory: str
    choice: Choice | None = None  # how the factory was chosen, where 'auto' was asked for
    count: int
    generation: int = 1  # counts the updates
    index: str  # the store's file, or the address of a collection; a generation may keep that of the one before
    images: str  # name of the set of images
    listing: str  # hash over their keys
    failures: int = 0  # images that could not be read
    spaces: dict[str, int] = Field(default_factory=dict)  # items by space, where some are of an older one; else empty
    former: Former | None = None  # what an upgrade that can be rolled back started from
    versions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)  # SHA-256 of every other file
    sizes: dict[str, int] = Field(default_factory=dict)  # bytes of the store's files and the items, for opening

    @property
    def items(self) -> str:
        """The file of the items."""
        return generation_name(ITEMS, self.generation)


def write_card(folder: Path, card: GalleryCard) -> None:
    """Write ``gallery.json``: from here on the folder is the gallery that the card describes."""
    document = {"schema": SCHEMA, **card.model_dump(mode="json")}
    write_json(folder / CARD, {**document, SEAL: _seal(document)})


def read_card(folder: Path) -> GalleryCard:
    """Read ``gallery.json``; the other files are not looked at.

    Raises:
        UsageError: ``folder`` is no gallery, or one whose job was not finished.
        DamagedArtifact: the file is not whole, or of another schema.
    """
    if not (folder / CARD).is_file() and (folder / EMBEDDINGS).is_dir():
        raise UsageError(
            f"the gallery '{folder}' is not finished",
            observed=f"no {CARD}",
            hint="Run the same 'hetsearch index build' again.",
        )
    document = read_json(folder / CARD, what="a gallery", schema=SCHEMA, exact=True)
    if document.pop(SEAL, None) != _seal(document):
        raise DamagedArtifact(
            f"'{folder / CARD}' was changed after it was written",
            observed=f"a '{SEAL}' that is not its own",
            expected="the SHA-256 of all the rest",
            hint="Restore the file, or make the gallery again.",
        )
    del document["schema"]
    try:
        return GalleryCard.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedArtifact(f"'{folder / CARD}' is damaged", observed=f"{where}: {first['msg']}") from None


def in_one_generation(folder: Path, read: Callable[[GalleryCard], Result]) -> Result:
    """What ``read`` gives for a gallery's card; read again where a job switched to the next generation meanwhile.

    The job removes the files of the generation before, and what is read of both does not fit together.

    Raises:
        UsageError: ``folder`` is no gallery.
        DamagedArtifact: a file of the generation is missing or was changed.
    """
    card = read_card(folder)
    while True:
        try:
            return read(card)
        except (DamagedArtifact, FileNotFoundError):
            card, before = read_card(folder), card
            if card == before:
                raise


def _seal(document: dict[str, Any]) -> str:
    return hashlib.sha256(dump_json(document).encode()).hexdigest()
