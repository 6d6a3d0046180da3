"""Who asks and who answers: the protocol, from the columns of a set of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.images import ImageSet
from hetsearch.errors import DataError, nearest
from hetsearch.metrics import Items
from hetsearch.metrics.packing import relevance_of
from hetsearch.metrics.ranking import plan_of
from hetsearch.space import Vectors

ROLES = ("query", "gallery")


@dataclass(frozen=True)
class Sides:
    """The rows of queries and items among the images, and what decides relevance and exclusion.

    Attributes:
        protocol: ``leave-one-out`` (every image is query and item) or ``roles`` (queries against gallery).
        query_rows: rows of the queries among the images, ``(n,)``.
        gallery_rows: rows of the items among the images, ``(m,)``.
        keys: of every image; a query's own is left out.
        labels: of every image.
        groups: of every image, or None; items of the query's group are left out.
    """

    protocol: str
    query_rows: NDArray[np.int64]
    gallery_rows: NDArray[np.int64]
    keys: NDArray[np.str_]
    labels: NDArray[np.str_]
    groups: NDArray[np.str_] | None

    @classmethod
    def of(cls, images: ImageSet) -> Sides:
        """Read the protocol from a set of images.

        Raises:
            DataError: no labels, an unknown role, or no image of a role.
        """
        if images.labels is None:
            raise DataError(
                f"'{images.name}' has no labels",
                hint="Put the images into class sub-folders, or give the manifest a column 'label'.",
            )
        groups = None if images.groups is None else np.array(images.groups, dtype=np.str_)
        columns = (np.array(images.keys, dtype=np.str_), np.array(images.labels, dtype=np.str_), groups)
        if images.roles is None:
            everyone = np.arange(len(images), dtype=np.int64)
            return cls("leave-one-out", everyone, everyone, *columns)
        rows = _rows_by_role(images.name, images.roles)
        return cls("roles", rows["query"], rows["gallery"], *columns)

    def query(self, vectors: Vectors) -> Items:
        """The queries, from the vectors of all images ``(images, dim)``."""
        return self._items(vectors, self.query_rows)

    def gallery(self, vectors: Vectors) -> Items:
        """The items, from the vectors of all images ``(images, dim)``."""
        return self._items(vectors, self.gallery_rows)

    def any_positive(self) -> bool:
        """Whether any query has an item to find: of its label, and neither the image itself nor one of its group."""
        alike = np.ones((len(self.keys), 1), dtype=np.float32)
        blocks = plan_of(self.query(alike), self.gallery(alike)).blocks()
        return any(bool(relevance_of(packed).any()) for _, packed in blocks)

    def require_positives(self, data: str) -> None:
        """Refuse images among which no query has an item to find.

        Args:
            data: name of the images, for the message.

        Raises:
            DataError: so it is.
        """
        if not self.any_positive():
            raise DataError(
                f"no query of '{data}' has a relevant item",
                observed=f"{len(self.query_rows)} queries without one",
                hint="Each label needs a query and, besides it, an item that is not excluded.",
            )

    def _items(self, vectors: Vectors, rows: NDArray[np.int64]) -> Items:
        groups = None if self.groups is None else self.groups[rows]
        return Items(vectors[rows], self.labels[rows], self.keys[rows], groups)


def _rows_by_role(name: str, roles: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    for role in sorted(set(roles) - set(ROLES)):
        raise DataError(f"'{name}' has an unknown role", observed=f"'{role}'", hint=nearest(role, ROLES))
    rows = {role: np.flatnonzero(np.array(roles, dtype=np.str_) == role) for role in ROLES}
    for role, found in rows.items():
        if not len(found):
            raise DataError(f"no image of '{name}' has the role '{role}'", expected="queries and gallery")
    return rows
