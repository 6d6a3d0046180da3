"""What a gate's expression is made of. ``of`` gives a part's value, None where it is undefined (Kleene's logic)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind = Literal["number", "truth"]
Value: TypeAlias = "float | bool | None"

COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}


@dataclass(frozen=True)
class Constant:
    """A number, ``true`` or ``false``."""

    value: float | bool

    @property
    def kind(self) -> Kind:
        """What it is."""
        return "truth" if isinstance(self.value, bool) else "number"

    def of(self, figures: Mapping[str, Value]) -> Value:
        """Itself."""
        return self.value


@dataclass(frozen=True)
class Name:
    """A figure of the report."""

    name: str
    kind: Kind

    def of(self, figures: Mapping[str, Value]) -> Value:
        """The figure; undefined where it is null."""
        return figures[self.name]


@dataclass(frozen=True)
class Defined:
    """Whether a figure is anything but null."""

    name: str
    kind: Kind = "truth"

    def of(self, figures: Mapping[str, Value]) -> Value:
        """Never undefined."""
        return figures[self.name] is not None


@dataclass(frozen=True)
class Sum:
    """Numbers, each added (1) or taken away (-1)."""

    terms: tuple[tuple[int, Node], ...]
    kind: Kind = "number"

    def of(self, figures: Mapping[str, Value]) -> Value:
        """The sum, from left to right; undefined where a term is."""
        total = 0.0
        for sign, node in self.terms:
            value = node.of(figures)
            if value is None:
                return None
            total += sign * value
        return total


@dataclass(frozen=True)
class Comparison:
    """Two numbers, or two truths, compared."""

    sign: str
    left: Node
    right: Node
    kind: Kind = "truth"

    def of(self, figures: Mapping[str, Value]) -> Value:
        """Undefined where a side is."""
        left, right = self.left.of(figures), self.right.of(figures)
        return None if left is None or right is None else COMPARE[self.sign](left, right)


@dataclass(frozen=True)
class Not:
    """The opposite."""

    part: Node
    kind: Kind = "truth"

    def of(self, figures: Mapping[str, Value]) -> Value:
        """Undefined where the part is."""
        value = self.part.of(figures)
        return None if value is None else not value


@dataclass(frozen=True)
class Joined:
    """Parts joined by ``and`` (False decides) or by ``or`` (True decides)."""

    decides: bool
    parts: tuple[Node, ...]
    kind: Kind = "truth"

    def of(self, figures: Mapping[str, Value]) -> Value:
        """What decides, if any part is that; else undefined, if any part is; else the other."""
        values = [part.of(figures) for part in self.parts]
        if self.decides in values:
            return self.decides
        return None if None in values else not self.decides


Node: TypeAlias = Constant | Name | Defined | Sum | Comparison | Not | Joined
