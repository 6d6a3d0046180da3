"""What ``gallery.json`` says: the file that makes a folder a gallery, written last.

It names the files of one generation. An update writes those of the next beside them and then ``gallery.json`` anew:
whoever opens the gallery gets the old generation or the new one, never a mixture.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.files import read_json, write_json
from hetsearch.gallery.choice import Choice
from hetsearch.gallery.manifest import generation_name
from hetsearch.preprocess import InputSpec

SCHEMA = 2
CARD = "gallery.json"
ITEMS = "items.parquet"
SPACE = "space"  # the column of the items in a gallery of several spaces
EMBEDDINGS = "embeddings"


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
    sizes: dict[str, int] = Field(default_factory=dict)  # bytes of index and items, which opening compares

    @property
    def items(self) -> str:
        """The file of the items."""
        return generation_name(ITEMS, self.generation)


def write_card(folder: Path, card: GalleryCard) -> None:
    """Write ``gallery.json``: from here on the folder is the gallery that the card describes."""
    write_json(folder / CARD, {"schema": SCHEMA, **card.model_dump(mode="json")})


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
    document = read_json(folder / CARD, what="a gallery", schema=SCHEMA)
    del document["schema"]
    for name, what in (("files", "checksum"), ("sizes", "size")):
        if not document.get(name):
            raise DamagedArtifact(f"'{folder / CARD}' is damaged", observed=f"no {name}", expected=f"a {what} of files")
    try:
        return GalleryCard.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedArtifact(f"'{folder / CARD}' is damaged", observed=f"{where}: {first['msg']}") from None
