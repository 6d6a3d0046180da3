from __future__ import annotations

import doctest
import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetsearch.errors import DataError
from hetsearch.gallery import ids
from hetsearch.gallery.ids import IdSet, listing_hash, require_distinct, stable_id, stable_ids


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_the_first_63_bits_of_sha256(key: str) -> None:
    try:
        bits = f"{int(hashlib.sha256(key.encode()).hexdigest(), 16):0256b}"
    except UnicodeEncodeError:
        with pytest.raises(DataError, match="not valid Unicode"):
            stable_id(key)
    else:
        assert stable_id(key) == int(bits[:63], 2)


def test_ids_are_pinned_forever() -> None:
    assert stable_ids(["shirt.png", "写真/一.png", ""]).tolist() == [
        7049801153027253955,
        int(hashlib.sha256("写真/一.png".encode()).hexdigest()[:16], 16) // 2,
        int("e3b0c44298fc1c14", 16) // 2,
    ]
    assert doctest.testmod(ids).failed == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(alphabet="abc/é", max_size=4), unique=True), st.randoms())
def test_ids_do_not_depend_on_the_order(keys: list[str], random: object) -> None:
    shuffled = list(keys)
    random.shuffle(shuffled)
    before = dict(zip(keys, stable_ids(keys).tolist(), strict=True))
    assert dict(zip(shuffled, stable_ids(shuffled).tolist(), strict=True)) == before
    assert stable_ids(keys).dtype == np.int64


@pytest.mark.parametrize("check", [stable_ids, require_distinct])
def test_a_key_that_comes_twice_is_named(check: Callable[[list[str]], object]) -> None:
    check(["a", "b", "c"])
    # Equal but not the same object, as keys from a file are.
    with pytest.raises(DataError, match="a key comes twice: observed 'b'"):
        check(["a", "b", "c", "".join(["b"]), "a"])


@pytest.mark.parametrize("check", [stable_ids, require_distinct])
def test_two_keys_with_one_id_are_refused(
    monkeypatch: pytest.MonkeyPatch, check: Callable[[list[str]], object]
) -> None:
    monkeypatch.setattr(ids, "stable_id", lambda key: len(key))
    with pytest.raises(DataError, match="two keys have the same id: observed 'aa' and 'bb'"):
        check(["aa", "b", "bb"])


def test_the_listing_knows_keys_and_order() -> None:
    same = listing_hash(["a", "b"])
    assert listing_hash(("a", "b")) == same
    others = [["b", "a"], ["ab"], ["a"], ["a", "b", ""], ["a\n", "b"]]
    assert same not in {listing_hash(keys) for keys in others}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=6), max_size=8))
def test_a_set_of_ids_is_a_set(blocks: list[list[int]]) -> None:
    held, reference = IdSet(np.empty(0, np.int64)), set()
    for block in blocks:
        twice = held.take(np.array(block, dtype=np.int64))
        if len(set(block)) == len(block) and not reference & set(block):
            assert twice is None
            reference |= set(block)
        else:
            assert twice in reference or block.count(twice) > 1
