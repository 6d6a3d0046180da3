"""The language of gates: what it says, what it refuses, and against Python's own reading of it."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetsearch.errors import UsageError
from hetsearch.evaluation.gates.gate import DEEPEST, LONGEST, parse

NUMBERS = ("retention.map", "nfr@1", "r@10", "M(q,g).map", "M(q*,q*).tar@1e-3", "nfr@1[T-shirt/top (a < b)]", "x")
TRUTHS = ("compatible.map", "useful.p@1")
KNOWN = {
    **dict.fromkeys((*NUMBERS, *(f"baseline.{name}" for name in NUMBERS)), "number"),
    **dict.fromkeys(TRUTHS, "truth"),
}


def judged(text, **figures):
    """The gate's answer on a few figures and those given."""
    return parse(text, KNOWN).of({"retention.map": 0.97, "nfr@1": 0.01, "compatible.map": None, **figures})


@pytest.mark.parametrize(
    ("text", "figures", "answer"),
    [
        ("retention.map < 0.98", {}, True),
        ("retention.map>=0.98", {}, False),
        ("compatible.map != true", {"compatible.map": True}, False),
        ("compatible.map != true", {"compatible.map": False}, True),
        ("compatible.map != true", {}, None),
        ("not compatible.map", {"compatible.map": False}, True),
        ("compatible.map", {"compatible.map": True}, True),
        ("M(q, g) . map < 0.89", None, "'. map'"),
        ("M( q , g ).map < 0.89", {"M(q,g).map": 0.9}, False),
        ("retention.map < baseline.retention.map - 0.005", {"baseline.retention.map": 0.98}, True),
        ("retention.map < baseline.retention.map - 0.02", {"baseline.retention.map": 0.98}, False),
        ("retention.map - 0.02 + 0.01 == 0.96", {}, True),
        ("M(q*,q*).tar@1e-3 - 1e-3 < 0.5", {"M(q*,q*).tar@1e-3": 0.5}, True),
        ("M(q*,q*).tar@1e-3-1e-3 < 0.5", {"M(q*,q*).tar@1e-3": 0.5}, True),
        ("r@10-0.1>0.8", {"r@10": 0.95}, True),
        ("nfr@1[T-shirt/top (a < b)] > .02", {"nfr@1[T-shirt/top (a < b)]": 0.03}, True),
        ("-nfr@1 < -0.005", {}, True),
        ("x - (0.5 - 0.25) > 0.5 - .25 - .25", {"x": 0.5}, True),
        # 'and' binds tighter than 'or', 'not' tighter than 'and'.
        ("nfr@1 < 1 or retention.map < 0 and retention.map < 0", {}, True),
        ("(nfr@1 < 1 or retention.map < 0) and retention.map < 0", {}, False),
        ("not nfr@1 < 1 and nfr@1 < 1", {}, False),
        ("not (nfr@1 < 1 and nfr@1 > 1)", {}, True),
        ("(nfr@1 < 1) == (retention.map < 1)", {}, True),
        # Kleene
        ("x < 1 or nfr@1 < 1", {"x": None}, True),
        ("x < 1 or nfr@1 > 1", {"x": None}, None),
        ("x < 1 and nfr@1 > 1", {"x": None}, False),
        ("x < 1 and nfr@1 < 1", {"x": None}, None),
        ("not x < 1", {"x": None}, None),
        ("x + 1 > 0", {"x": None}, None),
        ("x == x", {"x": None}, None),
        ("defined(x)", {"x": None}, False),
        ("defined(x) and x < 1", {"x": None}, False),
        ("not defined( compatible.map )", {}, True),
        ("true or x > 1", {"x": None}, True),
    ],
)
def test_what_it_says(text, figures, answer):
    if figures is None:
        with pytest.raises(UsageError, match="cannot be read"):
            parse(text, KNOWN)
        return
    assert judged(text, **figures) is answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "observed nothing, expected a condition such as"),
        ("   ", "observed nothing"),
        ("retention.map", "observed the whole is a number, expected a condition"),
        ("0.5", "the whole is a number"),
        ("retention.map < ", "observed its end, expected a name or a number"),
        ("< 0.5", "observed '<', expected a name or a number"),
        ("retention.map 0.5", "observed '0.5' after a whole expression"),
        ("retention.map = 0.5", r"observed '=', .*Compare with '==', not with '='"),
        ("0.1 < retention.map < 0.5", r"'<' after a whole expression.*Join two comparisons with 'and'"),
        ("retention.map < 98%", "observed '%'"),
        ("retention.map * 2 < 1", r"observed '\*'"),
        ("(retention.map < 1", r"observed its end, expected '\)'"),
        ("retention.map < 1)", r"'\)' after a whole expression"),
        ("retention.map < true", "observed a number < a truth"),
        ("compatible.map < true", "two truths compared by '<'"),
        ("compatible.map + 1 < 2", "a part of a sum is true or false, expected a number"),
        ("-compatible.map", "what '-' stands before is true or false"),
        ("not retention.map", "what 'not' stands before is a number"),
        ("retention.map and compatible.map", "a side of 'and' is a number"),
        ("compatible.map or 1", "a side of 'or' is a number"),
        ("retention.map < 1e999", "a number too large"),
        ("defined retention.map", r"expected '\('"),
        ("defined(0.5)", r"observed the name '0\.5'"),
        ("defined(retention.map < 1)", r"observed '<', expected '\)'"),
        ("and", "observed 'and', expected a name"),
        ("retention.mao < 0.98", r"the name 'retention\.mao', .*Nearest known: 'retention\.map'"),
        ("M(a,b).map < 0.98", r"the name 'M\(a,b\)\.map'.*'M\(q,g\)\.map'"),
        ("__import__('os').system('x')", "cannot be read"),
        ("().__class__", "cannot be read"),
        ("x" * (LONGEST + 1), "observed 2,001 characters"),
        ("(" * 900 + "x < 1" + ")" * 900, f"more than {DEEPEST} parentheses"),
        ("not " * 400 + "compatible.map", f"more than {DEEPEST}"),
        ("- " * 400 + "x < 1", f"more than {DEEPEST}"),
    ],
)
def test_what_it_refuses(text, message):
    with pytest.raises(UsageError, match=message) as error:
        parse(text, KNOWN)
    assert error.value.exit_code == 2


def test_a_name_that_could_be_known_says_how():
    with pytest.raises(UsageError, match=r"Name the report with --baseline\."):
        parse("baseline.y < 1", KNOWN, {"baseline.y": "Name the report with --baseline."})


def test_a_long_chain_is_no_deep_one():
    assert judged(" or ".join(["x > 1"] * 200), x=0.0) is False
    assert judged("x" + " + 0.5" * 200 + " == 100", x=0.0) is True


def test_names_and_what_was_wanted():
    gate = parse(" nfr@1 > 0.02 or x<nfr@1 ", KNOWN)
    assert (gate.text, gate.names) == ("nfr@1 > 0.02 or x<nfr@1", ("nfr@1", "x"))
    assert gate.wanted == "not (nfr@1 > 0.02 or x<nfr@1)"
    assert parse("retention.map<0.98", KNOWN).wanted == "retention.map >= 0.98"
    assert parse("nfr@1[T-shirt/top (a < b)] > 1", KNOWN).wanted == "nfr@1[T-shirt/top (a < b)] <= 1"


# Expressions with their value by plain Python: pairs (text, value), None where undefined.
FIGURES = {"retention.map": 0.5, "nfr@1": 0.25, "r@10": None, "M(q,g).map": -1.0, "compatible.map": True}
COMPARE = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip

number_leaf = st.one_of(
    st.sampled_from(["retention.map", "nfr@1", "r@10", "M(q,g).map"]).map(lambda name: (name, FIGURES[name])),
    st.integers(0, 40).map(lambda n: (str(n / 8), n / 8)),
)
numbers = st.recursive(
    number_leaf,
    lambda inner: st.one_of(
        inner.map(lambda a: (f"-({a[0]})", None if a[1] is None else -a[1])),
        st.tuples(inner, st.sampled_from("+-"), inner).map(
            lambda p: (
                f"({p[0][0]} {p[1]} {p[2][0]})",
                None if None in (p[0][1], p[2][1]) else p[0][1] + (p[2][1] if p[1] == "+" else -p[2][1]),
            )
        ),
    ),
    max_leaves=4,
)
comparisons = st.tuples(numbers, st.sampled_from(sorted(COMPARE)), numbers).map(
    lambda p: (
        f"{p[0][0]} {p[1]} {p[2][0]}",
        None if None in (p[0][1], p[2][1]) else COMPARE[p[1]](p[0][1], p[2][1]),
    )
)


def kleene(word, a, b):
    """The truth table, with 0, 1/2 and 1 for false, undefined and true."""
    as_number = {False: 0.0, None: 0.5, True: 1.0}
    value = (min if word == "and" else max)(as_number[a], as_number[b])
    return {0.0: False, 0.5: None, 1.0: True}[value]


truths = st.recursive(
    st.one_of(comparisons, st.just(("compatible.map", True)), st.just(("defined(r@10)", False))),
    lambda inner: st.one_of(
        inner.map(lambda a: (f"not ({a[0]})", None if a[1] is None else not a[1])),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda p: (f"({p[0][0]}) {p[1]} ({p[2][0]})", kleene(p[1], p[0][1], p[2][1]))
        ),
    ),
    max_leaves=6,
)


@given(truths)
@settings(max_examples=60, deadline=None)
def test_against_plain_python(case):
    text, expected = case
    assert parse(text, KNOWN).of(FIGURES) is expected


@given(st.text(alphabet="Mqg()<>=!.@[]+-*019ex nfrandotu", max_size=30))
@settings(max_examples=80, deadline=None)
def test_whatever_is_written_is_read_or_refused(text):
    try:
        gate = parse(text, KNOWN)
    except UsageError as error:
        refused = str(error)
        gate = None
    if gate is None:
        assert "cannot be read" in refused
    else:
        assert gate.of(dict.fromkeys(KNOWN)) in (True, False, None)
