"""A store in a Milvus collection: one row an item, its id, its vector, and what is known of it.

Milvus gives scores in float32 and keeps the vectors as they came, whatever its index: so hits come with their vectors,
and the scores are computed again in float64. The same gallery gives the same scores here as in an exact FAISS index.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DamagedArtifact, DataError, HetsearchError, SpaceMismatch
from hetsearch.gallery.card import SPACE, GalleryCard, Superseded
from hetsearch.gallery.embedding.shards import ATTRIBUTES, Columns
from hetsearch.gallery.ids import Ids, IdSet
from hetsearch.gallery.stores.exhaustive import best_among
from hetsearch.gallery.stores.milvus_client import Database, NotThere, Unreachable, load_pymilvus
from hetsearch.gallery.stores.milvus_index import METRIC, MilvusIndex
from hetsearch.space import Vectors, check_vectors

ID, KEY, VECTOR = "id", "key", "vector"
TEXTS = (KEY, *ATTRIBUTES, SPACE)
OF_SPACE, OF_CARD = "hetsearch.space", "hetsearch.card"  # properties of a collection that is ours

MOST_TEXT = 65_535  # bytes that Milvus takes in a cell
MOST_HITS = 16_384  # that Milvus gives to a query, and rows to a page
MESSAGE = 16 << 20  # bytes of vectors in one call; Milvus refuses messages of more than 64 MB


class MilvusStore:
    """The rows of a collection; see :class:`hetsearch.gallery.stores.store.LiveStore`.

    Args:
        database: that has the collection.
        name: of the collection, not an alias, which may move.
        index: of the collection.
        known: ids that it holds; None reads them from it when they are needed.
    """

    def __init__(self, database: Database, name: str, index: MilvusIndex, known: IdSet | None = None) -> None:
        self._database, self._name, self._index, self._known = database, name, index, known

    @classmethod
    def create(cls, database: Database, name: str, card: GalleryCard) -> MilvusStore:
        """Make an empty collection.

        Args:
            database: that is to have it.
            name: of the collection.
            card: of the gallery, which the collection's properties will hold.
        """
        index = MilvusIndex.parse(card.dim, card.factory, card.count)
        kinds = load_pymilvus().DataType
        schema = load_pymilvus().MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field(ID, kinds.INT64, is_primary=True)
        schema.add_field(VECTOR, kinds.FLOAT_VECTOR, dim=card.dim)
        for text in TEXTS:
            schema.add_field(text, kinds.VARCHAR, max_length=MOST_TEXT, nullable=True)
        properties = {OF_SPACE: card.space, OF_CARD: card.model_dump_json(exclude={"files", "sizes"})}
        database.call("create_collection", name, schema=schema, properties=properties)
        return cls(database, name, index, IdSet(np.empty(0, dtype=np.int64)))

    @classmethod
    def open(cls, database: Database, name: str, card: GalleryCard) -> MilvusStore:
        """Open a collection that was made for a gallery.

        Raises:
            Superseded: there is none.
            SpaceMismatch: its vectors lie in another space.
            DamagedArtifact: it is not a gallery's, or of another dimension.
        """
        held, dim = read_properties(database, name)
        if held.space != card.space:
            raise SpaceMismatch(
                f"the gallery and its collection '{name}' belong to different spaces",
                observed=held.space,
                expected=card.space,
                hint="Somebody made another gallery under this name. Build this one again under another.",
            )
        if dim != card.dim:
            raise DamagedArtifact(f"the collection '{name}' has another dimension", observed=dim, expected=card.dim)
        database.call("load_collection", name, timeout=None)
        return cls(database, name, MilvusIndex.parse(card.dim, card.factory, card.count))

    @property
    def removable(self) -> bool:
        """Whether vectors can be removed."""
        return self._index.removable

    def __len__(self) -> int:
        found = self._database.call("query", self._name, output_fields=["count(*)"], consistency_level="Strong")
        return int(found[0]["count(*)"])

    def bytes_for(self, count: int) -> int:
        """About how many bytes ``count`` vectors take."""
        return self._index.bytes_for(count)

    def train(self, sample: Callable[[int], Vectors]) -> None:
        """Do nothing: Milvus trains its index itself, segment by segment, when :meth:`save` asks for it."""

    def add(self, ids: Ids, vectors: Vectors, items: Columns | None = None) -> None:
        """Add vectors under their stable ids.

        Args:
            ids: ``(n,)``, not negative, unique, none of them there already.
            vectors: ``(n, dim)``, float32, unit rows.
            items: what else the rows hold: ``key``, attributes, space.

        Raises:
            DataError: a guard refuses.
            HetsearchError: Milvus does not answer, or refuses.
        """
        check_vectors(vectors, self._index.dim, what="the gallery's vectors")
        if len(ids) != len(vectors):
            raise DataError("ids and vectors do not match", observed=len(ids), expected=len(vectors))
        columns = {name: list((items or {}).get(name) or [None] * len(ids)) for name in TEXTS}
        _check_texts(columns)
        self._known = IdSet(self._ids()) if self._known is None else self._known
        if (twice := self._known.take(ids)) is not None:
            raise DataError("an id comes twice", observed=twice, expected="unique ids")
        step = max(1, min(1000, MESSAGE // (self._index.dim * 4)))
        for start in range(0, len(ids), step):
            # An upsert, so that a try that seemed to fail and did not leaves no row twice.
            block = range(start, min(start + step, len(ids)))
            rows = [
                {ID: int(ids[row]), VECTOR: vectors[row], **{name: columns[name][row] for name in TEXTS}}
                for row in block
            ]
            self._database.call("upsert", self._name, rows)

    def remove(self, ids: Ids) -> None:
        """Remove vectors by their stable ids.

        Args:
            ids: ``(n,)``, each of them there.

        Raises:
            DataError: an id is not there, or comes twice; then nothing is removed.
        """
        held = self._ids()
        if len(absent := np.setdiff1d(ids, held)) or len(np.unique(ids)) < len(ids):
            observed = f"{absent[0]} is not there" if len(absent) else "an id comes twice"
            raise DataError("ids cannot be removed", observed=observed, expected="ids of the index, once each")
        for start in range(0, len(ids), MOST_HITS):
            self._database.call("delete", self._name, ids=ids[start : start + MOST_HITS].tolist())
        self._known = IdSet(np.setdiff1d(held, ids))

    def save(self) -> None:
        """Make what was added last, build the index, and make it ready to be searched."""
        self._database.call("flush", self._name, timeout=None)
        index = load_pymilvus().MilvusClient.prepare_index_params()
        # pymilvus would send the parameters one by one, and milvus-lite silently takes them in one piece only.
        whole = {"params": self._index.build}
        index.add_index(VECTOR, index_type=self._index.kind, metric_type=METRIC, params=whole)
        self._database.call("create_index", self._name, index, timeout=None)
        self._database.call("load_collection", self._name, timeout=None)

    def search(self, vectors: Vectors, k: int, among: Ids | None = None) -> tuple[Ids, NDArray[np.float64]]:
        """The best by inner product, best first.

        Args:
            vectors: ``(n, dim)``, float32, unit rows.
            k: how many; Milvus gives at most 16,384.
            among: look at these ids only, and at all of them, ``(m,)``: their vectors are fetched, whatever the index.

        Returns:
            Ids and scores in float64, ``(n, k)`` each; id -1 and score -inf where the index finds fewer.

        Raises:
            Superseded: the collection is not there any more.
            HetsearchError: Milvus does not answer, or refuses.
        """
        if among is not None:
            step = max(1, min(MOST_HITS, MESSAGE // (self._index.dim * 4)))
            return best_among(vectors, among, k, self._vectors_of, step=step)
        if k > MOST_HITS:
            warnings.warn(f"Milvus gives at most {MOST_HITS:,} hits a query", stacklevel=3)
        asked = min(k, MOST_HITS)
        ids = np.full((len(vectors), k), -1, dtype=np.int64)
        scores = np.full((len(vectors), k), -np.inf)
        step = max(1, min(1024, MESSAGE // (asked * self._index.dim * 4)))
        for start in range(0, len(vectors), step):
            queries = np.ascontiguousarray(vectors[start : start + step], dtype=np.float32)
            for row, hits in enumerate(self._hits(queries, asked), start=start):
                found = np.array([hit[ID] for hit in hits], dtype=np.int64)
                held = np.array([hit["entity"][VECTOR] for hit in hits], dtype=np.float32).reshape(len(hits), -1)
                exact = held.astype(np.float64) @ vectors[row].astype(np.float64) if len(hits) else np.empty(0)
                best = np.argsort(-exact, kind="stable")
                ids[row, : len(hits)], scores[row, : len(hits)] = found[best], exact[best]
        return ids, scores

    def rows(self) -> Iterator[tuple[Ids, Vectors, Columns]]:
        """All rows, a page at a time, in no order: ids, vectors, and what is known of the items."""
        for page in self.pages([ID, VECTOR, *TEXTS]):
            ids = np.array([row[ID] for row in page], dtype=np.int64)
            vectors = np.array([row[VECTOR] for row in page], dtype=np.float32)
            yield ids, vectors, {name: [row.get(name) for row in page] for name in TEXTS}

    def pages(self, columns: list[str]) -> Iterator[list[dict[str, Any]]]:
        """Some columns of all rows, page by page, in no order."""
        what: dict[str, Any] = {"output_fields": columns, "batch_size": MOST_HITS, "consistency_level": "Strong"}
        iterator = self._database.call("query_iterator", self._name, **what)
        while page := self._database.tried(iterator.next, "query_iterator"):
            yield page
        iterator.close()

    def _ids(self) -> Ids:
        pages = [np.array([row[ID] for row in page], dtype=np.int64) for page in self.pages([ID])]
        return np.concatenate([np.empty(0, dtype=np.int64), *pages])

    def _hits(self, queries: Vectors, k: int) -> Any:
        parameters = {"metric_type": METRIC, "params": self._index.search(k)}
        return self._asked(
            "search", data=list(queries), limit=k, anns_field=VECTOR, output_fields=[VECTOR], search_params=parameters
        )

    def _vectors_of(self, ids: Ids) -> Vectors:
        rows = self._asked("get", ids=ids.tolist(), output_fields=[ID, VECTOR], consistency_level="Strong")
        held = {row[ID]: row[VECTOR] for row in rows}
        if len(held) < len(ids):
            raise DamagedArtifact(
                f"the collection '{self._name}' lacks items", observed=len(held), expected=len(ids),
                hint="Somebody else has removed them: build the gallery again.",
            )  # fmt: skip
        return np.array([held[number] for number in ids.tolist()], dtype=np.float32)

    def _asked(self, verb: str, **what: Any) -> Any:
        """An answer of the collection; Superseded where it is gone."""
        try:
            return self._database.call(verb, self._name, **what)
        except Unreachable:
            raise
        except HetsearchError:
            if self._database.call("has_collection", self._name):
                raise
            raise _gone(self._name) from None


def read_properties(database: Database, name: str) -> tuple[GalleryCard, int]:
    """What a collection says of itself: the card of its gallery, and the length of its vectors.

    Raises:
        Superseded: there is no such collection.
        DamagedArtifact: it is not one of ours.
    """
    try:
        found = database.call("describe_collection", name)
    except NotThere:
        raise _gone(name) from None
    properties: Mapping[str, str] = found.get("properties") or {}
    dims = [field["params"].get("dim") for field in found["fields"] if field["name"] == VECTOR]
    try:
        card = GalleryCard.model_validate_json(properties[OF_CARD])
        if properties[OF_SPACE] != card.space or not dims:
            raise ValueError
    except (KeyError, ValueError):
        raise DamagedArtifact(
            f"the collection '{name}' is not a gallery",
            observed="no properties of ours",
            expected=f"'{OF_SPACE}' and '{OF_CARD}'",
            hint="It belongs to somebody else: name another one.",
        ) from None
    return card, int(dims[0])


def _gone(name: str) -> Superseded:
    return Superseded(f"there is no collection '{name}'", hint="Build the gallery again.")


def _check_texts(columns: Columns) -> None:
    for name, cells in columns.items():
        longest = max((len(cell.encode()) for cell in cells if cell), default=0)
        if longest > MOST_TEXT:
            raise DataError(f"a '{name}' is too long for Milvus", observed=f"{longest:,} bytes",
                            expected=f"at most {MOST_TEXT:,}")  # fmt: skip
