"""The language of ``--fail-if``: a condition on the figures of a report, read without ``eval``.

    expression  = conjunction ("or" conjunction)*
    conjunction = negation ("and" negation)*
    negation    = "not" negation | comparison
    comparison  = sum [("<" | "<=" | ">" | ">=" | "==" | "!=") sum]
    sum         = term (("+" | "-") term)*
    term        = NUMBER | "true" | "false" | NAME | "defined" "(" NAME ")" | "-" term | "(" expression ")"

A NAME is a figure of the report (:mod:`hetsearch.evaluation.gates.figures` lists them): ``retention.map``, ``nfr@1``,
``M(q,g).map``, ``nfr@1[Shirt]``, ``compatible.map``; with ``baseline.`` in front, the baseline report's. Each part is
a number or a truth, and which one is checked before anything is measured: ``retention.map and true`` and
``compatible.map < 0.9`` are refused.

Logic is three-valued (Kleene's): sums and comparisons with an undefined figure are undefined; ``false and undefined``
is false, ``true or undefined`` is true, and whatever else holds an undefined part is undefined. A gate is met only
where its expression is false: it **fails closed** where the expression is undefined. ``defined(NAME)`` is always true
or false, so ``defined(compatible.map) and compatible.map == false`` lets an undecided claim pass.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from hetsearch.errors import UsageError
from hetsearch.evaluation.gates.conditions import (
    COMPARE,
    OPPOSITE,
    Comparison,
    Constant,
    Defined,
    Joined,
    Kind,
    Name,
    Node,
    Not,
    Sum,
    Value,
)

LONGEST = 2000  # characters of an expression
DEEPEST = 40  # parentheses, minus signs and nots inside one another
NAMES_TOLD = 5

GRAMMAR = "Compare figures and numbers, and join with 'and', 'or', 'not': retention.map < 0.98 or nfr@1 > 0.02."

_SEGMENT = r"[A-Za-z_]\w*(?:@\w+(?:(?<=\de)-\d+)?)?"
_NAME = rf"(?:baseline\.)?(?:M\([^()]*\)|{_SEGMENT})(?:\.{_SEGMENT})*(?:\[[^\]]*\])?"
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TOKEN = re.compile(rf"\s*(?:(?P<number>{_NUMBER})|(?P<name>{_NAME})|(?P<sign><=|>=|==|!=|[<>()+\-]))")
_NO_NAMES = ("and", "or", "not", "true", "false", "defined", "(", ")", "+", "-", *COMPARE)


@dataclass(frozen=True)
class Gate:
    """One expression, read and checked.

    Attributes:
        text: as the user wrote it.
        node: what it says.
        names: the figures in it, in the order of their first mention.
        wanted: what would meet the gate, in the gate's own language.
    """

    text: str
    node: Node
    names: tuple[str, ...]
    wanted: str

    def of(self, figures: Mapping[str, Value]) -> bool | None:
        """False: the gate is met. True: it is not. None: undefined, which counts as not met.

        Args:
            figures: each of ``names``, None where undefined.
        """
        value = self.node.of(figures)
        return None if value is None else bool(value)


def parse(text: str, known: Mapping[str, Kind], missing: Mapping[str, str] | None = None) -> Gate:
    """Read an expression.

    Args:
        text: the expression.
        known: every figure that it may name, and whether that is a number or a truth.
        missing: of names that are not among them but could be: what to do, as a sentence.

    Raises:
        UsageError: no expression, an unknown name (the nearest known ones are told), or a number where a truth must
            stand or the other way about.

    >>> gate = parse("retention.map < 0.98 or nfr@1 > 0.02", {"retention.map": "number", "nfr@1": "number"})
    >>> gate.of({"retention.map": 0.99, "nfr@1": 0.03}), gate.of({"retention.map": 0.99, "nfr@1": None})
    (True, None)
    """
    parser = _Parser(text, known, missing or {})
    node = parser.whole()
    signs = [token for token in parser.tokens if token in COMPARE]
    single = isinstance(node, Comparison) and len(signs) == 1
    wanted = " ".join(OPPOSITE.get(token, token) for token in parser.tokens) if single else f"not ({text.strip()})"
    return Gate(text.strip(), node, tuple(dict.fromkeys(parser.names)), wanted)


class _Parser:
    """Recursive descent, one method a line of the grammar."""

    def __init__(self, text: str, known: Mapping[str, Kind], missing: Mapping[str, str]) -> None:
        self.text, self.known, self.missing = text, known, missing
        self.names: list[str] = []
        self.depth = self.place = 0
        if len(text) > LONGEST:
            raise self.error(f"{len(text):,} characters", f"at most {LONGEST:,}")
        self.tokens = list(self.read())

    def read(self) -> Iterator[str]:
        place, end = 0, len(self.text.rstrip())
        while place < end:
            found = _TOKEN.match(self.text, place)
            if found is None:
                wrong = self.text[place:].split()[0]
                hint = "Compare with '==', not with '='." if wrong.startswith("=") else GRAMMAR
                raise self.error(f"'{wrong}'", "a name, a number or a sign", hint)
            place = found.end()
            head, bracket, label = found.group(found.lastgroup or 0).partition("[")
            yield re.sub(r"\s+", "", head) + bracket + label

    def whole(self) -> Node:
        if not self.tokens:
            raise self.error("nothing", "a condition such as 'retention.map < 0.98'")
        node = self.expression()
        if self.next is not None:
            hint = "Join two comparisons with 'and'." if self.next in COMPARE else GRAMMAR
            raise self.error(f"'{self.next}' after a whole expression", "'and', 'or' or the end", hint)
        return self.truth(node, "the whole")

    def expression(self) -> Node:
        return self.joined("or", lambda: self.joined("and", self.negation))

    def joined(self, word: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self.taken(word):
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        return Joined(word == "or", tuple(self.truth(node, f"a side of '{word}'") for node in parts))

    def negation(self) -> Node:
        if self.taken("not"):
            return Not(self.truth(self.deeper(self.negation), "what 'not' stands before"))
        return self.comparison()

    def comparison(self) -> Node:
        left = self.sum()
        if self.next not in COMPARE:
            return left
        sign = self.take()
        right = self.sum()
        if left.kind != right.kind:
            raise self.error(f"a {left.kind} {sign} a {right.kind}", "two numbers, or two truths (true, false)")
        if left.kind == "truth" and sign not in ("==", "!="):
            raise self.error(f"two truths compared by '{sign}'", "'==' or '!='")
        return Comparison(sign, left, right)

    def sum(self) -> Node:
        terms = [(1, self.term())]
        while self.next in ("+", "-"):
            terms.append((1 if self.take() == "+" else -1, self.term()))
        if len(terms) == 1:
            return terms[0][1]
        return Sum(tuple((sign, self.number(node, "a part of a sum")) for sign, node in terms))

    def term(self) -> Node:
        if self.taken("-"):
            return Sum(((-1, self.number(self.deeper(self.term), "what '-' stands before")),))
        if self.taken("("):
            inner = self.deeper(self.expression)
            self.expect(")")
            return inner
        if self.taken("defined"):
            self.expect("(")
            name = self.name().name
            self.expect(")")
            return Defined(name)
        if self.next in ("true", "false"):
            return Constant(self.take() == "true")
        if self.next is not None and self.next[0] in "0123456789.":
            value = float(self.take())
            if not math.isfinite(value):
                raise self.error("a number too large", "a finite number")
            return Constant(value)
        return self.name()

    def name(self) -> Name:
        if self.next is None or self.next in _NO_NAMES:
            raise self.error("its end" if self.next is None else f"'{self.next}'", "a name or a number", GRAMMAR)
        name = self.take()
        if name not in self.known:
            hint = self.missing.get(name) or _nearest(name, self.known)
            raise self.error(f"the name '{name}'", "a figure of the report", hint)
        self.names.append(name)
        return Name(name, self.known[name])

    @property
    def next(self) -> str | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self) -> str:
        self.place += 1
        return self.tokens[self.place - 1]

    def taken(self, token: str) -> bool:
        found = self.next == token
        self.place += found
        return found

    def expect(self, token: str) -> None:
        if not self.taken(token):
            raise self.error("its end" if self.next is None else f"'{self.next}'", f"'{token}'")

    def deeper(self, part: Callable[[], Node]) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error(f"more than {DEEPEST} parentheses, signs and nots inside one another", "fewer")
        node = part()
        self.depth -= 1
        return node

    def truth(self, node: Node, what: str) -> Node:
        if node.kind != "truth":
            raise self.error(f"{what} is a number", "a condition", "Compare it: retention.map < 0.98.")
        return node

    def number(self, node: Node, what: str) -> Node:
        if node.kind != "number":
            raise self.error(f"{what} is true or false", "a number")
        return node

    def error(self, observed: str, expected: str, hint: str | None = None) -> UsageError:
        shown = self.text if len(self.text) <= 200 else f"{self.text[:200]}…"
        return UsageError(f"the gate '{shown}' cannot be read", observed=observed, expected=expected, hint=hint)


def _nearest(name: str, known: Mapping[str, Kind]) -> str:
    """A sentence: the nearest names, not all of them, for they are many."""
    close = difflib.get_close_matches(name, sorted(known), n=NAMES_TOLD, cutoff=0.3)
    told = ", ".join(f"'{one}'" for one in close or sorted(known)[:NAMES_TOLD])
    return f"Nearest known: {told}." if told else "No name is known."
