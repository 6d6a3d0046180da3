"""From a factory string to an index of Milvus: its kind, how it is built, how it is searched.

The strings are FAISS's, so that one ``--factory`` means the same in either store. Only what a Milvus server and
milvus-lite both have is taken; the parameters are always given, because a Milvus that is asked for none chooses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hetsearch.errors import UsageError
from hetsearch.gallery.stores.faiss_factory import EF_SEARCH
from hetsearch.gallery.stores.faiss_kinds import NUMBER

METRIC = "IP"  # of unit vectors: the cosine
EF_CONSTRUCTION = 200
EXAMPLES = "'Flat' (exact), 'HNSW32', 'HNSW32,SQ8', 'IVF256,Flat' or 'IVF256,SQ8'"

_LINKS, _LISTS = (2, 2048), (1, 65_536)  # the bounds that Milvus sets
_KINDS = (
    (re.compile(r"Flat"), "FLAT", (0, 0)),
    (re.compile(r"HNSW(\d+)(?:[,_]Flat)?"), "HNSW", _LINKS),
    (re.compile(r"HNSW(\d+)[,_]SQ8"), "HNSW_SQ", _LINKS),
    (re.compile(r"IVF(\d+),Flat"), "IVF_FLAT", _LISTS),
    (re.compile(r"IVF(\d+),SQ8"), "IVF_SQ8", _LISTS),
)


@dataclass(frozen=True)
class MilvusIndex:
    """An index of Milvus over unit vectors, by inner product.

    Attributes:
        kind: Milvus's name of it.
        dim: length of a vector.
        number: links of a node (HNSW) or lists (IVF).
        here: whether it is on this machine, and takes its room.
    """

    kind: str
    dim: int
    number: int = 0
    here: bool = True

    @classmethod
    def parse(cls, dim: int, factory: str, count: int | None) -> MilvusIndex:
        """The index that a factory string names.

        Args:
            dim: length of a vector.
            factory: FAISS's description of it, such as ``Flat`` or ``HNSW32``.
            count: how many vectors will come; None where they are enough.

        Raises:
            UsageError: Milvus has no such index, or it needs more vectors.
        """
        for pattern, kind, (least, most) in _KINDS:
            if found := pattern.fullmatch(factory):
                number = int(found[1]) if pattern.groups else 0
                if not least <= number <= most:
                    raise UsageError(f"Milvus cannot make an index of '{factory}'", observed=number,
                                     expected=f"{least} to {most:,}")  # fmt: skip
                if kind.startswith("IVF") and count is not None and number > count:
                    raise UsageError(f"there are too few vectors for an index of '{factory}'", observed=count,
                                     expected=f"at least {number}", hint="Use a smaller factory string.")  # fmt: skip
                return cls(kind, dim, number)
        raise UsageError(
            f"Milvus cannot make an index of '{factory}'",
            expected=EXAMPLES,
            hint="'--store faiss' knows many more.",
        )

    @property
    def build(self) -> dict[str, Any]:
        """Milvus's parameters of building."""
        if self.kind.startswith("HNSW"):
            quantised = {"sq_type": "SQ8"} if self.kind == "HNSW_SQ" else {}
            return {"M": self.number, "efConstruction": EF_CONSTRUCTION, **quantised}
        return {"nlist": self.number} if self.number else {}

    def search(self, k: int) -> dict[str, Any]:
        """Milvus's parameters of a search for ``k`` hits: as far as the FAISS store goes, too."""
        if self.kind.startswith("HNSW"):
            return {"ef": max(EF_SEARCH, k)}
        return {"nprobe": max(1, self.number // 8)} if self.number else {}

    @property
    def removable(self) -> bool:
        """Whether vectors can be removed: always, Milvus keeps a list of what is gone."""
        return True

    def bytes_for(self, count: int) -> int:
        """About how many bytes ``count`` vectors take here: as they came, and once more in the index."""
        if not self.here:
            return 0
        graph = (2 * NUMBER * self.number + 12) if self.kind.startswith("HNSW") else 0
        code = self.dim * (1 if "SQ" in self.kind else NUMBER)
        lists = self.number * self.dim * NUMBER if self.kind.startswith("IVF") else 0
        return count * (self.dim * NUMBER + 16 + code + graph) + lists
