"""Sets of drawn emoji in Iconify's JSON form: which concepts a set draws, and each as a picture.

``icons.json`` holds the SVG body of each icon and ``chars.json`` tells which code points an icon is for. A concept
is a sequence of code points without U+FE0F, which only asks for colour; those with a skin tone are left out, for a
tone is a variant and no concept of its own. Source: "Iconify: IconifyJSON", the format's reference.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from hetsearch.errors import DamagedArtifact, require_extra

SIDE = 64  # of a picture, pixels
BACKGROUND = "#ffffff"  # as InputSpec.background: what a picture of a shop looks like
COLOUR_ONLY = 0xFE0F
SKIN_TONES = range(0x1F3FB, 0x1F400)

CodePoints: TypeAlias = tuple[int, ...]

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")  # what may become a file's name


@dataclass(frozen=True)
class IconSet:
    """One style of drawing.

    Attributes:
        style: its name, for messages.
        names: concept → icon, for the icons that the set itself draws (no mirrored or renamed one).
        icons: icon → its ``body``, and its size where it is not the set's.
        size: width and height of an icon, in units of its drawing.
    """

    style: str
    names: dict[CodePoints, str]
    icons: dict[str, dict[str, Any]]
    size: tuple[float, float]

    @classmethod
    def parse(cls, style: str, icons: bytes, chars: bytes) -> IconSet:
        """Read ``icons.json`` and ``chars.json``.

        Raises:
            DamagedArtifact: they are not of the form, or an icon's name cannot be a file's.
        """
        try:
            drawn, points = json.loads(icons), json.loads(chars)
            bodies = {name: dict(icon) for name, icon in drawn["icons"].items() if isinstance(icon["body"], str)}
            # Sorted, so that a set which lists a concept with and without U+FE0F gives one icon, always the same.
            named = {concept_of(text): name for text, name in sorted(points.items(), reverse=True) if name in bodies}
            size = float(drawn.get("width", 16)), float(drawn.get("height", 16))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedArtifact(
                f"'{style}' is not a set of icons", observed=f"{type(error).__name__}: {error}", hint="Fetch it again."
            ) from None
        if strange := [name for name in named.values() if not _NAME.fullmatch(name)]:
            raise DamagedArtifact(f"an icon of '{style}' has a name that is none", observed=ascii(strange[0]))
        return cls(style, {key: name for key, name in named.items() if not set(key) & set(SKIN_TONES)}, bodies, size)

    def svg(self, concept: CodePoints) -> str:
        """The drawing as a whole SVG file, centred in a square of 64 pixels."""
        icon = self.icons[self.names[concept]]
        width, height = icon.get("width", self.size[0]), icon.get("height", self.size[1])
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{SIDE}" height="{SIDE}" viewBox="{box}">{icon["body"]}</svg>'
        )


def concept_of(text: str) -> CodePoints:
    """The concept of a key of ``chars.json``.

    >>> [hex(point) for point in concept_of("2764-fe0f-200d-1f525")]
    ['0x2764', '0x200d', '0x1f525']
    """
    return tuple(point for part in text.split("-") if (point := int(part, 16)) != COLOUR_ONLY)


def drawn_by_all(sets: Iterable[IconSet]) -> list[CodePoints]:
    """The concepts that every set draws; the ones of fewest code points first, then by code point."""
    common = set.intersection(*(set(icons.names) for icons in sets))
    return sorted(common, key=lambda concept: (len(concept), concept))


def renderer() -> tuple[Callable[[str, str], bytes], str]:
    """What turns an SVG file and its name into an opaque PNG, and the program and version that do.

    Fonts of the system are not loaded: the drawings hold no text, and another machine has other fonts.

    Raises:
        MissingExtra: resvg_py is not installed.
    """
    try:
        import resvg_py
    except ImportError:
        raise require_extra("resvg_py", "data") from None

    def render(svg: str, name: str) -> bytes:
        try:
            return bytes(resvg_py.svg_to_bytes(svg_string=svg, background=BACKGROUND, skip_system_fonts=True))
        except ValueError as error:
            raise DamagedArtifact(f"'{name}' cannot be drawn", observed=str(error)) from None

    return render, f"resvg_py {resvg_py.__version__}"


def merged(pictures: Mapping[str, Mapping[CodePoints, bytes]]) -> dict[CodePoints, list[CodePoints]]:
    """Put together the concepts that some style draws alike, bytes for bytes.

    Nobody could tell such concepts apart by that style's pictures, so they count as one.

    Args:
        pictures: style → concept → picture; the same concepts in each, in the order of preference.

    Returns:
        The first concept of each → the others, in that order.
    """
    above: dict[CodePoints, CodePoints] = {}

    def first(concept: CodePoints) -> CodePoints:
        while concept in above:
            concept = above[concept]
        return concept

    for drawn in pictures.values():
        order = {concept: place for place, concept in enumerate(drawn)}
        owner: dict[bytes, CodePoints] = {}
        for concept, picture in drawn.items():
            one, other = first(owner.setdefault(picture, concept)), first(concept)
            if one != other:
                early, late = sorted((one, other), key=order.__getitem__)
                above[late] = early
    kept: dict[CodePoints, list[CodePoints]] = {}
    for concept in next(iter(pictures.values()), {}):
        if (head := first(concept)) == concept:
            kept[concept] = []
        else:
            kept[head].append(concept)
    return kept


def split_of(name: str) -> str:
    """train, validation or test, 70/10/20, by a hash of the concept's name: it stays whatever else is added.

    >>> [split_of(name) for name in ("red-heart", "cactus", "bicycle")]
    ['train', 'validation', 'test']
    """
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) / 2**64
    return "train" if share < 0.7 else "validation" if share < 0.8 else "test"
