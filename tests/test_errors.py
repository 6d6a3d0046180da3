from __future__ import annotations

import pickle

import pytest

from hetsearch import errors
from hetsearch.errors import EXTRA_OF, HetsearchError, nearest, require_extra

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, HetsearchError)
]


def test_the_exit_codes_of_the_contract() -> None:
    assert {kind.__name__: kind.exit_code for kind in KINDS} == {
        "HetsearchError": 1,
        "UsageError": 2,
        "ConfigError": 2,
        "DataError": 2,
        "ImageError": 3,
        "SpaceMismatch": 4,
        "GateNotMet": 4,
        "DamagedArtifact": 1,
        "Diverged": 1,
        "ServiceError": 1,
        "MissingExtra": 1,
    }


def test_what_is_a_usage_error() -> None:
    usage = [kind.__name__ for kind in KINDS if issubclass(kind, errors.UsageError)]
    assert usage == ["UsageError", "ConfigError", "DataError"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "it broke"),
        ({"observed": 0}, "it broke: observed 0"),
        ({"observed": "a", "expected": "b"}, "it broke: observed a, expected b"),
        ({"hint": "Mend it."}, "it broke. Mend it."),
        ({"observed": 1, "expected": 2, "hint": "Mend it."}, "it broke: observed 1, expected 2. Mend it."),
    ],
)
def test_a_message_says_what_observed_expected_and_what_to_do(
    arguments: dict[str, object], message: str
) -> None:
    assert str(HetsearchError("it broke", **arguments)) == message


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_comes_whole_out_of_another_process(kind: type[HetsearchError]) -> None:
    error = kind("what", observed=1, expected="two", hint="Do.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.what, again.observed, again.expected, again.hint) == ("what", 1, "two", "Do.")


def test_a_missing_extra_says_how_to_install_it() -> None:
    assert str(require_extra("faiss-cpu", "gallery")) == (
        "the package 'faiss-cpu' is not installed. Install it with: pip install 'hetsearch[gallery]' "
        "(in its clone: pip install '.[gallery]')"
    )


def test_every_module_of_an_extra_is_named_with_it() -> None:
    assert {EXTRA_OF[name] for name in ("torch", "onnx", "timm", "accelerate")} == {"train"}
    assert [EXTRA_OF["faiss"], EXTRA_OF["matplotlib"]] == ["gallery", "report"]


def test_the_nearest_known_name() -> None:
    assert nearest("epoch", {"epochs", "seed"}) == "Did you mean 'epochs'? Known: epochs, seed."
    assert nearest("xyz", {"epochs", "seed"}) == "Known: epochs, seed."
    assert nearest("xyz", ()) == "Known: none."
