"""The emoji set: one concept drawn in several styles, rendered on this machine from npm packages.

It is for open-set, cross-domain search of instances: the concepts of ``test`` are in no training, and every style
queries all the others. A picture's ``label`` is its concept, its ``domain`` and its ``group`` are its style: images
of one group are never each other's hits, so in leave-one-out the items of a query are the pictures of other styles.

Kept are the concepts that *all* styles draw, so that each query has exactly one positive in each other style and no
style lacks what others are asked for: 1,594 of 1,678 that three draw; the other 84, many of them families, are
missing from fluent-emoji-flat alone.
Concepts that a style draws alike are one concept, of which the first one's pictures stay.

The folder holds ``emoji.csv`` (a manifest as any other, with the SHA-256 of each picture), ``STYLE/CONCEPT.png``
(64×64, on white, opaque), ``LICENSES.md``, and ``emoji.json``: what it was made from, and the checksums of the other
two. So ``emoji.json`` alone vouches for every picture, and the same packages and renderer give the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hetsearch.data.icons import BACKGROUND, SIDE, CodePoints, IconSet, drawn_by_all, merged, renderer, split_of
from hetsearch.data.images import ImageSet
from hetsearch.data.manifest import open_manifest
from hetsearch.data.ways import Files, NoAnswer, Way, from_npm
from hetsearch.errors import DamagedArtifact
from hetsearch.files import dump_json

CARD, MANIFEST, LICENSES = "emoji.json", "emoji.csv", "LICENSES.md"
SCHEMA = 1
PARTS = ("icons.json", "chars.json", "info.json")  # of a package, in the order in which they are hashed
COLUMNS = ("key", "path", "label", "group", "domain", "split", "sha256")


@dataclass(frozen=True)
class Style:
    """One npm package of drawings, in the version that everyone's pictures come from.

    Attributes:
        package: its name.
        version: its version.
        sha256: of ``icons.json``, ``chars.json`` and ``info.json``, one after the other.
    """

    package: str
    version: str
    sha256: str


@dataclass(frozen=True)
class EmojiSet:
    """Pictures of the concepts that every style draws.

    Attributes:
        styles: name → where its drawings come from; the first one names the concepts.
        installed: a folder of a system package; there is none.
    """

    styles: dict[str, Style]
    installed: Path | None = None

    @property
    def ways(self) -> tuple[Way, ...]:
        """One way: the packages, rendered."""
        packages = ", ".join(f"{style.package}@{style.version}" for style in self.styles.values())
        return (Way(f"npm pack {packages} and resvg_py", self._render),)

    def listing(self, folder: Path) -> tuple[str, ...]:
        """The files of the set in ``folder``; none where one of the three beside the pictures is missing."""
        if not all((folder / name).is_file() for name in (CARD, MANIFEST, LICENSES)):
            return ()
        pictures = sorted(f"{style}/{path.name}" for style in self.styles for path in (folder / style).glob("*.png"))
        return (*pictures, LICENSES, MANIFEST, CARD)

    def accept(self, files: Files, where: str = "") -> Files:
        """The files that belong to the set, each with the checksum that was recorded when it was rendered.

        Raises:
            DamagedArtifact: a file is missing or was changed; ``where`` stands before its name.
        """
        rows = _rows(files.get, where)
        names = [*(row["path"] for row in rows), LICENSES, MANIFEST, CARD]  # last what vouches for the others
        return {name: files[name] for name in names}

    def open(self, name: str, folder: Path, split: str) -> ImageSet:
        """One split; every picture of the set is compared with its recorded checksum first.

        Raises:
            DamagedArtifact: a file is missing or was changed.
            DataError: no concept fell into the split.
        """
        _rows(lambda path: _bytes(folder / path), f"{folder}/")
        return replace(open_manifest(folder / MANIFEST, split), name=f"{name}:{split}")

    def _render(self, folder: Path) -> Files:
        render, program = renderer()  # first, for a missing package is to be known before the download
        parts = {name: _bring(name, style, folder / name) for name, style in self.styles.items()}
        sets = {name: IconSet.parse(name, files["icons.json"], files["chars.json"]) for name, files in parts.items()}
        concepts = drawn_by_all(sets.values())
        drawn = {
            style: {concept: render(icons.svg(concept), f"{style}/{icons.names[concept]}") for concept in concepts}
            for style, icons in sets.items()
        }
        kept = merged(drawn)
        names = next(iter(sets.values())).names
        files = {f"{style}/{names[concept]}.png": drawn[style][concept] for concept in kept for style in sets}
        infos = {name: json.loads(content["info.json"]) for name, content in parts.items()}
        files[LICENSES] = self._licences(infos).encode()
        files[MANIFEST] = _manifest([names[concept] for concept in kept], files, list(sets)).encode()
        files[CARD] = dump_json(self._card(kept, names, files, program)).encode()
        return files

    def _card(
        self, kept: dict[CodePoints, list[CodePoints]], names: dict[CodePoints, str], files: Files, program: str
    ) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "size": SIDE,
            "background": BACKGROUND,
            "renderer": program,
            "styles": {name: vars(style) for name, style in self.styles.items()},
            "concepts": len(kept),
            "merged": {names[first]: [names[other] for other in others] for first, others in kept.items() if others},
            "files": {name: _sha256(files[name]) for name in (MANIFEST, LICENSES)},
        }

    def _licences(self, infos: dict[str, dict[str, Any]]) -> str:
        lines = [
            "# Whose drawings these are",
            "",
            f"Rendered from SVG to {SIDE}×{SIDE} pixels on white, otherwise unchanged. Each style keeps its licence.",
            "",
            "| folder | drawings | author | licence | package |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, info in infos.items():
            author, licence, style = info["author"], info["license"], self.styles[name]
            terms = f"{licence['title']} (SPDX {licence['spdx']}), {licence['url']}"
            cells = (f"{name}/", info["name"], f"{author['name']}, {author['url']}", terms)
            lines.append(f"| {' | '.join(cells)} | {style.package} {style.version} |")
        return "\n".join(lines) + "\n"


def _bring(name: str, style: Style, folder: Path) -> Files:
    folder.mkdir()
    try:
        files = from_npm(f"{style.package}@{style.version}", frozenset(PARTS), folder)
    except NoAnswer as error:
        raise NoAnswer(f"{style.package}: {error}") from None
    if missing := [part for part in PARTS if part not in files]:
        raise NoAnswer(f"{style.package}: it did not bring {', '.join(missing)}")
    if (found := _sha256(b"".join(files[part] for part in PARTS))) != style.sha256:
        raise DamagedArtifact(
            f"'{style.package}' is not the published package",
            observed=f"sha256 {found}",
            expected=f"sha256 {style.sha256} of version {style.version}",
        )
    return files


def _manifest(concepts: list[str], files: Files, styles: list[str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for concept in sorted(concepts):
        for style in styles:
            key = f"{style}/{concept}"
            path = f"{key}.png"
            writer.writerow((key, path, concept, style, style, split_of(concept), _sha256(files[path])))
    return text.getvalue()


def _rows(read: Callable[[str], bytes | None], where: str) -> list[dict[str, str]]:
    """The rows of the manifest, after the card, the manifest and the pictures were found sound."""

    def sound(name: str, recorded: object) -> bytes:
        content = read(name)
        if content is None:
            raise _damaged(f"{where}{name}", "no such file", "a file of the set")
        if (found := _sha256(content)) != recorded:
            raise _damaged(f"{where}{name}", f"sha256 {found[:12]}…", f"sha256 {str(recorded)[:12]}…")
        return content

    recorded = _recorded(read(CARD), f"{where}{CARD}")
    sound(LICENSES, recorded.get(LICENSES))
    rows = list(csv.DictReader(io.StringIO(sound(MANIFEST, recorded.get(MANIFEST)).decode(), newline="")))
    for row in rows:
        sound(row["path"], row["sha256"])
    return rows


def _recorded(card: bytes | None, name: str) -> dict[str, str]:
    try:
        document = json.loads(card or b"")
        files = document["files"] if document["schema"] == SCHEMA else None
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(name, f"{type(error).__name__}: {error}", f"the card of schema {SCHEMA}") from None
    if not isinstance(files, dict):
        raise _damaged(name, f"schema {document['schema']}", f"the card of schema {SCHEMA}")
    return files


def _damaged(name: str, observed: str, expected: str) -> DamagedArtifact:
    return DamagedArtifact(
        f"'{name}' was changed after it was rendered",
        observed=observed,
        expected=expected,
        hint="Make the set again: 'hetsearch data fetch emoji'.",
    )


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
