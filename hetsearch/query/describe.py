"""What lies at a path (an encoder bundle, a space, a gallery, a search, a supernet or a report), and is it whole?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hetsearch import bundle
from hetsearch.errors import UsageError
from hetsearch.files import read_json, sha256_of
from hetsearch.gallery import card as galleries

OK, CHANGED, MISSING, LEFT_OUT = "ok", "changed", "missing", "left out"

REPORT = "report.json"
REPORT_FACTS = (
    "space", "data", "n_queries", "n_gallery", "n_without_positives", "encoders", "matrix", "verdict", "settings"
)
SPACE = "space.json"
SEARCH = "nas.json"
SUPERNET = "supernet.json"
SUPERNET_FACTS = ("space", "dim", "steps", "seconds", "validation", "search_space")
SEARCH_FACTS = ("space", "winner", "lr", "reward", "budget", "validation", "seed", "architectures", "seconds")


@dataclass(frozen=True)
class Description:
    """What was found.

    Attributes:
        path: the folder, or the file of a report.
        kind: ``encoder bundle``, ``space``, ``gallery``, ``architecture search``, ``supernet`` or ``report``.
        facts: what its JSON file says of it, by name.
        files: state of each file that it records: ``ok``, ``changed``, ``missing`` or ``left out`` (a
            released bundle may lack its weights).
    """

    path: Path
    kind: str
    facts: dict[str, Any]
    files: dict[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every checksum holds."""
        return not {CHANGED, MISSING} & set(self.files.values())

    def as_dict(self) -> dict[str, Any]:
        """The description as a JSON document."""
        return {
            "path": str(self.path), "kind": self.kind, "whole": self.whole, **self.facts, "files": self.files
        }


def describe(path: str | Path) -> Description:
    """Say what lies at ``path``.

    A changed or missing file does not stop it: that is part of the description.

    Raises:
        UsageError: nothing that hetsearch knows.
        DamagedArtifact: the JSON file that says what it is cannot be read.
    """
    place = Path(path)
    if place.is_file() and place.name in _READERS:
        return _READERS[place.name](place.parent)
    # A bundle may hold the report of its evaluation as well, so the order matters.
    for name, reader in _READERS.items():
        if (place / name).is_file():
            return reader(place)
    if (place / "space" / SPACE).is_file():
        return _space(place / "space")
    if (place / galleries.EMBEDDINGS).is_dir():
        galleries.read_card(place)  # raises, and says that the gallery is not finished
    raise UsageError(
        f"'{path}' is nothing that hetsearch knows" if place.exists() else f"there is no '{path}'",
        expected=f"a folder that holds one of {', '.join(_READERS)}",
    )


def _bundle(folder: Path) -> Description:
    card = bundle.read_card(folder, verify=False)
    facts = card.model_dump(mode="json")
    return Description(
        folder, "encoder bundle", facts, _states(folder, bundle.CARD, optional=frozenset({bundle.WEIGHTS}))
    )


def _space(folder: Path) -> Description:
    document = read_json(folder / SPACE, what="a space")
    facts = {name: value for name, value in document.items() if name not in ("schema", "files")}
    return Description(folder, "space", facts, _states(folder, SPACE))


def _gallery(folder: Path) -> Description:
    card = galleries.read_card(folder)
    return Description(
        folder, "gallery", card.model_dump(mode="json", exclude={"files"}), _states(folder, galleries.CARD)
    )


def _report(folder: Path) -> Description:
    path = folder / REPORT
    document = read_json(path, what="an evaluation report")
    facts = {name: document[name] for name in REPORT_FACTS if name in document}
    matrix = facts.get("matrix")
    if not isinstance(matrix, list) or not all(isinstance(row, dict) for row in matrix):
        raise UsageError(f"'{path}' is not an evaluation report", observed="no matrix", expected="a list of rows")
    return Description(path, "report", facts, _states(folder, REPORT))


def _search(folder: Path) -> Description:
    document = read_json(folder / SEARCH, what="an architecture search")
    facts = {name: document[name] for name in SEARCH_FACTS if name in document}
    top = document.get("top")
    rows = top if isinstance(top, list) and all(isinstance(row, dict) for row in top) else []
    return Description(folder, "architecture search", {**facts, "matrix": rows}, _states(folder, SEARCH))


def _supernet(folder: Path) -> Description:
    document = read_json(folder / SUPERNET, what="a trained supernet")
    facts = {name: document[name] for name in SUPERNET_FACTS if name in document}
    return Description(folder, "supernet", facts, _states(folder, SUPERNET))


def _states(folder: Path, card: str, optional: frozenset[str] = frozenset()) -> dict[str, str]:
    recorded = read_json(folder / card, what="an artefact").get("files", {})
    return {name: _state(folder / name, sha, name in optional) for name, sha in recorded.items()}


def _state(path: Path, sha: str, optional: bool) -> str:
    if not path.is_file():
        return LEFT_OUT if optional else MISSING
    return OK if sha256_of(path) == sha else CHANGED


_READERS: dict[str, Callable[[Path], Description]] = {
    bundle.CARD: _bundle,
    SPACE: _space,
    galleries.CARD: _gallery,
    SEARCH: _search,
    SUPERNET: _supernet,
    REPORT: _report,
}
