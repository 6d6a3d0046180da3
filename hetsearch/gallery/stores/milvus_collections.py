"""The Milvus stores of one gallery: a collection a generation, and an alias that leads to the present one.

Where no server is named, each generation has a database file of its own in the gallery's folder: milvus-lite lets one
process in at a time, and so a job can write the next generation while another process serves the present one.

A collection is never changed once its generation is in place: the next one is filled from the shards, also where
little is new. To upsert and delete in place would be far less work, but is no switch: there is one vector to an id, so
from the first row on a reader of the present generation would meet vectors that it has no items for, and miss others;
a job that is killed would leave a gallery that is neither generation and does not open. To let rows of two generations
stand side by side, each search would need a filter, and each row a second key. For an upgrade, too, a new collection
holds the new space from its first row on, so that whoever opens it, by folder or by name, is never told the wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hetsearch.errors import DamagedArtifact, HetsearchError, UsageError
from hetsearch.gallery.card import CARD, SPACE, GalleryCard, Superseded
from hetsearch.gallery.embedding.shards import Columns
from hetsearch.gallery.ids import Ids
from hetsearch.gallery.manifest import generation_name
from hetsearch.gallery.stores.milvus_client import (
    FILE,
    TOKEN,
    Database,
    NotThere,
    connect,
    let_go,
    load_lite,
    load_pymilvus,
)
from hetsearch.gallery.stores.milvus_index import MilvusIndex
from hetsearch.gallery.stores.milvus_store import ID, KEY, TEXTS, MilvusStore, read_properties
from hetsearch.gallery.tables import arrow
from hetsearch.space import Vectors

DATABASE = "milvus" + FILE  # in the gallery's folder: milvus-lite keeps a folder under this name
NAME = "gallery"  # of its collection, but for the generation

_FILE = re.compile(rf"milvus(?:-\d{{5,}})?{re.escape(FILE)}")
_NUMBER = re.compile(r"_\d{5,}$")  # behind the name of a gallery: the generation


@dataclass(frozen=True)
class Address:
    """Where a collection is.

    Attributes:
        uri: of the database: ``http://HOST:PORT``, perhaps with ``/DATABASE``, or a file relative to the gallery.
        name: of the collection or alias.
    """

    uri: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``http://HOST:PORT/NAME``, ``http://HOST:PORT/DATABASE/NAME`` or ``FILE.db/NAME``.

        Raises:
            UsageError: it is nothing of that kind.
        """
        uri, _, name = text.rstrip("/").rpartition("/")
        try:
            parts = urlsplit(uri)
            server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            server, parts = False, urlsplit("")
        if not (server or _FILE.fullmatch(uri)) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", name):
            raise UsageError(
                f"'{text}' is no address of a gallery in Milvus",
                expected="http://HOST:PORT/NAME; NAME of letters, digits and _",
                hint="The default port is 19530, and NAME is what the gallery is to be called there.",
            )
        if parts.username is not None:
            raise UsageError(
                "an address with a key in it would be written into gallery.json",
                expected="http://HOST:PORT/NAME",
                hint=f"Set the environment variable {TOKEN} instead.",
            )
        return cls(uri, name)

    def __str__(self) -> str:
        return f"{self.uri}/{self.name}"

    @property
    def remote(self) -> bool:
        """Whether it is on a server, not in the gallery's folder."""
        return "://" in self.uri

    def connect(self, out: Path) -> Database:
        """The database, for the gallery in the folder ``out``."""
        return connect(self.uri if self.remote else str(out / self.uri))


class MilvusCollections:
    """See :class:`hetsearch.gallery.stores.store.StoreBackend`.

    Args:
        out: the folder of the gallery.
        address: what the gallery is called on a server, or the address of one of its collections; None for a file in
            the folder.
    """

    def __init__(self, out: Path, address: str | None = None) -> None:
        load_pymilvus()
        given = Address.parse(address or f"{DATABASE}/{NAME}")
        self._out = out
        self._server = given.uri if given.remote else None
        self._given, self._name = given.name, _NUMBER.sub("", given.name)

    def plan(self, dim: int, factory: str, count: int | None) -> MilvusIndex:
        """The index that there would be.

        Raises:
            UsageError: Milvus has no such index; or the gallery is new, and its name is taken.
            Unreachable: the server does not answer.
            MissingExtra: milvus-lite is not installed, and no server is named.
        """
        index = MilvusIndex.parse(dim, factory, count)
        if self._server is None:
            load_lite()
            return index
        database = connect(self._server)
        if not (self._out / CARD).exists():
            self._require_free(database)
        return replace(index, here=False)

    def write(self, card: GalleryCard, present: GalleryCard | None, fill: Callable[[MilvusStore], None]) -> str:
        """Fill the collection of a generation; its address comes back.

        Raises:
            Unreachable: the server does not answer.
            UsageError: somebody else's collection has its name.
            HetsearchError: Milvus refuses, or does not hold what it was given.
        """
        address = self._filled(card, fill)
        if self._server is None:
            let_go()
        return str(address)

    def settle(self, card: GalleryCard) -> None:
        """Point the alias at the present generation's collection, and drop those of other generations.

        A file needs neither: readers find it by ``gallery.json``, the folder is swept, and one of them may hold it.

        Raises:
            Unreachable: the server does not answer.
        """
        if self._server is None:
            return
        present = Address.parse(card.index).name
        database = connect(self._server)
        target = _target(database, self._name)
        if target != present and database.call("has_collection", present):
            database.call("alter_alias" if target else "create_alias", present, self._name)
        for name in database.call("list_collections"):
            if name != present and _generation(name, self._name) and _is_ours(database, name):
                database.call("drop_collection", name)

    def _require_free(self, database: Database) -> None:
        other = "Give the gallery another name in --uri"
        if self._given != self._name:
            raise UsageError(f"'{self._given}' ends like a generation of '{self._name}'", hint=f"{other}.")
        if database.call("has_collection", self._name):
            raise UsageError(
                f"the Milvus at '{database.uri}' has a '{self._name}' already",
                hint=f"{other}, or drop that collection and its alias in Milvus.",
            )

    def _filled(self, card: GalleryCard, fill: Callable[[MilvusStore], None]) -> Address:
        uri = self._server or generation_name(DATABASE, card.generation)
        address = Address(uri, f"{self._name}_{card.generation:05d}")
        database = address.connect(self._out)
        _drop_left(database, address.name, card)
        store = MilvusStore.create(database, address.name, card)
        fill(store)
        store.save()
        if (count := len(store)) != card.count:
            raise HetsearchError(
                f"the collection '{address.name}' does not hold what it was given",
                observed=f"{count:,} rows",
                expected=f"{card.count:,}",
                hint="Does another job write into it?",
            )
        return address


def load_milvus_store(out: Path, card: GalleryCard) -> MilvusStore:
    """The collection of a gallery.

    Raises:
        Superseded: it is not there.
        SpaceMismatch: it is of another space.
        DamagedArtifact: it is not a gallery's, or of another dimension.
    """
    address = Address.parse(card.index)
    if not address.remote and not (out / address.uri).is_dir():
        raise Superseded(f"'{out}' is not whole", observed=f"no {address.uri}", expected=address.uri)
    return MilvusStore.open(address.connect(out), address.name, card)


def iter_milvus_rows(out: Path, card: GalleryCard) -> Iterator[tuple[Ids, Vectors, Columns]]:
    """All rows of a gallery's collection, in no order: ids, vectors, and what is known of the items."""
    return load_milvus_store(out, card).rows()


def open_collection(address: str) -> tuple[GalleryCard, MilvusStore, Any]:
    """Open a gallery by its name on a server, without its folder.

    Returns:
        Its card, its store, and the table of its items (Arrow), which are read from the collection.

    Raises:
        UsageError: there is none.
        DamagedArtifact: it is not a gallery's.
    """
    given = Address.parse(address)
    database = connect(given.uri)
    name = _target(database, given.name) or given.name
    try:
        held, _ = read_properties(database, name)
    except Superseded:
        raise UsageError(f"there is no gallery '{given.name}' in the Milvus at '{given.uri}'") from None
    card = held.model_copy(update={"index": str(Address(given.uri, name))})
    store = MilvusStore.open(database, name, card)
    pa, _ = arrow()
    kinds = {ID: pa.int64(), **dict.fromkeys(TEXTS, pa.string())}
    columns = {column: pa.chunked_array([[]], kind) for column, kind in kinds.items()}
    for page in store.pages([ID, *TEXTS]):
        for column, kind in kinds.items():
            more = pa.array([row.get(column) for row in page], kind)
            columns[column] = pa.chunked_array([*columns[column].chunks, more])
    # Every row says its space; a gallery of one space has no such column.
    apart = {KEY} if card.spaces else {KEY, SPACE}
    known = [KEY, ID, *(name for name in TEXTS if name not in apart and columns[name].null_count < card.count)]
    return card, store, pa.table({name: columns[name] for name in known})


def _target(database: Database, alias: str) -> str | None:
    """The collection that an alias leads to; None where there is no such alias."""
    try:
        return str(database.call("describe_alias", alias)["collection_name"])
    except NotThere:
        return None


def _generation(name: str, gallery: str) -> bool:
    return name.startswith(f"{gallery}_") and _NUMBER.sub("", name) == gallery


def _is_ours(database: Database, name: str) -> bool:
    try:
        read_properties(database, name)
    except DamagedArtifact:
        return False
    return True


def _drop_left(database: Database, name: str, card: GalleryCard) -> None:
    """Drop what a killed job left under the name of a collection that is to be made.

    Raises:
        UsageError: it is not this gallery's.
    """
    try:
        held, _ = read_properties(database, name)
    except Superseded:
        return
    except DamagedArtifact:
        held = None
    if held is None or (held.space, held.listing) != (card.space, card.listing):
        raise UsageError(
            f"the Milvus at '{database.uri}' has a collection '{name}' of somebody else",
            hint="Give the gallery another name in --uri.",
        )
    database.call("drop_collection", name)
