"""The exact ranking against plain loops, and the cases where rankings usually go wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetsearch.errors import DataError, UsageError
from hetsearch.metrics import Items, first_hits, packing, ranked_relevance


def circle(angles):
    """Unit vectors ``(n, 2)`` at whole multiples of 15 degrees: many of them equal, many scores tied."""
    radians = np.deg2rad(15.0 * np.asarray(angles, dtype=np.float64))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def brute_order(query, gallery, row):
    """Row numbers of the gallery in the protocol's order, excluded items left out."""
    kept = []
    for item in range(len(gallery)):
        if query.keys is not None and gallery.keys[item] == query.keys[row]:
            continue
        if query.groups is not None and query.groups[row] != "" and gallery.groups[item] == query.groups[row]:
            continue
        score = round(sum(a * b for a, b in zip(query.vectors[row], gallery.vectors[item], strict=True)), 9)
        kept.append((-score, item if gallery.keys is None else gallery.keys[item], item))
    return [item for _, _, item in sorted(kept)]


def relevance_of(query, gallery):
    return np.concatenate([rows for _, rows in ranked_relevance(query, gallery)])


def order_of(query, gallery, k):
    return np.concatenate([order for _, order, _ in first_hits(query, gallery, k)])


def assert_is_brute_force(query, gallery):
    relevance, order = relevance_of(query, gallery), order_of(query, gallery, len(gallery))
    for row in range(len(query)):
        expected = brute_order(query, gallery, row)
        padding = len(gallery) - len(expected)
        assert order[row].tolist() == expected + [-1] * padding
        hits = [gallery.labels[item] == query.labels[row] for item in expected]
        assert relevance[row].tolist() == hits + [False] * padding


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("with_keys", [True, False])
@pytest.mark.parametrize("with_groups", [True, False])
def test_agrees_with_plain_loops_on_tied_scores(seed, with_keys, with_groups):
    rng = np.random.default_rng(seed)

    def side(n, first_key):
        keys = [f"k{i}" for i in rng.permutation(n) + first_key]  # k10 sorts before k2: text, not numbers
        groups = rng.choice(["", "a", "b"], n).tolist()
        return Items(
            circle(rng.integers(0, 12, n)),
            rng.choice(["x", "y", "z"], n).tolist(),
            keys if with_keys else None,
            groups if with_groups else None,
        )

    assert_is_brute_force(side(20, first_key=10), side(25, first_key=0))


@pytest.mark.parametrize("block", [1, 64, 1000])
def test_blocks_of_any_size_give_the_same(monkeypatch, block):
    rng = np.random.default_rng(1)
    items = Items(circle(rng.integers(0, 24, 40)), rng.integers(0, 4, 40), np.arange(40))
    whole, hits = relevance_of(items, items), order_of(items, items, 7)
    monkeypatch.setattr(packing, "_BLOCK", block)
    np.testing.assert_array_equal(relevance_of(items, items), whole)
    np.testing.assert_array_equal(order_of(items, items, 7), hits)


def test_the_own_image_is_left_out_by_identity_even_behind_its_twin():
    twins = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    items = Items(twins, ["cat", "dog", "cat"], ["b", "a", "c"])
    # For query "b" its twin "a" comes first by key. Dropping the first hit would have dropped the twin.
    assert order_of(items, items, 3)[0].tolist() == [1, 2, -1]
    assert relevance_of(items, items)[0].tolist() == [False, True, False]


def test_scores_that_differ_below_nine_decimals_are_tied():
    near = np.array([[1.0, 0.0], [1.0 - 2e-10, 0.0]])
    query = Items(near[:1], ["q"])
    assert order_of(query, Items(near, ["q", "q"], ["b", "a"]), 2).tolist() == [[1, 0]]
    far = np.array([[1.0, 0.0], [1.0 - 2e-9, 0.0]])
    assert order_of(query, Items(far, ["q", "q"], ["b", "a"]), 2).tolist() == [[0, 1]]


def test_numbers_as_keys_are_in_the_order_of_numbers():
    same = np.tile([[1.0, 0.0]], (3, 1))
    assert order_of(Items(same[:1], [0]), Items(same, [0, 0, 0], [10, 9, 100]), 3).tolist() == [[1, 0, 2]]


def test_negative_scores_come_last():
    vectors = np.array([[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    query = Items(vectors[2:], ["a"])
    (_, order, scores), *_ = first_hits(query, Items(vectors, list("aab")), 3)
    assert order.tolist() == [[2, 1, 0]]
    assert scores.tolist() == [[1.0, 0.0, -1.0]]


def test_an_empty_group_is_no_group():
    vectors = circle([0, 1, 2, 3])
    items = Items(vectors, list("aaaa"), list("wxyz"), ["", "", "g", "g"])
    expected = [[1, 2, 3, -1], [0, 2, 3, -1], [1, 0, -1, -1], [1, 0, -1, -1]]
    assert order_of(items, items, 4).tolist() == expected


def test_first_hits_are_the_head_of_the_full_order():
    rng = np.random.default_rng(3)
    items = Items(circle(rng.integers(0, 12, 30)), rng.integers(0, 3, 30), np.arange(30))
    full = order_of(items, items, 30)
    for k in (1, 5, 29, 30, 99):
        np.testing.assert_array_equal(order_of(items, items, k), full[:, :k])


def test_scores_of_hits_are_the_rounded_inner_products():
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(10, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = Items(vectors.astype(np.float32), np.zeros(10), np.arange(10))
    (_, order, scores), *_ = first_hits(items, items, 10)
    exact = items.vectors.astype(np.float64) @ items.vectors.astype(np.float64).T
    np.testing.assert_allclose(scores[:, :9], np.take_along_axis(exact, order[:, :9], axis=1), atol=6e-10)
    assert np.isnan(scores[:, 9]).all()


def test_nothing_on_a_side_gives_empty_rankings():
    some, none = Items(circle([0, 1]), ["a", "b"], ["x", "y"]), Items(np.zeros((0, 2)), [], [])
    assert relevance_of(some, none).shape == (2, 0)
    assert order_of(some, none, 3).shape == (2, 0)
    assert list(ranked_relevance(none, some)) == []


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_items_does_not_matter(data):
    n = data.draw(st.integers(1, 12))
    angles = data.draw(st.lists(st.integers(0, 23), min_size=n, max_size=n))
    labels = data.draw(st.lists(st.sampled_from("ab"), min_size=n, max_size=n))
    shuffle = np.array(data.draw(st.permutations(range(n))))
    keys = np.arange(n)
    query = Items(circle([0, 5]), ["a", "b"], [0, n])
    plain = Items(circle(angles), np.array(labels), keys)
    moved = Items(circle(angles)[shuffle], np.array(labels)[shuffle], keys[shuffle])
    np.testing.assert_array_equal(relevance_of(query, plain), relevance_of(query, moved))
    there, here = order_of(query, moved, n), order_of(query, plain, n)
    np.testing.assert_array_equal(np.where(there < 0, -1, shuffle[there]), here)


def test_bad_input_is_refused():
    unit = circle([0, 1])
    good = Items(unit, ["a", "b"], ["x", "y"])
    with pytest.raises(DataError, match="vectors and labels do not match: observed 2 vectors and 1 labels"):
        Items(unit, ["a"])
    with pytest.raises(DataError, match="a key of the gallery comes twice: observed 'x'"):
        relevance_of(good, Items(unit, ["a", "b"], ["x", "x"]))
    with pytest.raises(DataError, match="the queries have keys and the gallery has none"):
        relevance_of(good, Items(unit, ["a", "b"]))
    with pytest.raises(DataError, match="labels of the queries and of the gallery are of different kinds"):
        relevance_of(good, Items(unit, [1, 2], ["x", "y"]))
    with pytest.raises(DataError, match="only one side has groups"):
        relevance_of(good, Items(unit, ["a", "b"], ["x", "y"], ["g", "h"]))
    with pytest.raises(DataError, match=r"norms up to 1 and 2.*Divide each vector"):
        relevance_of(good, Items(2 * unit, ["a", "b"], ["x", "y"]))
    with pytest.raises(DataError, match="norms up to 1 and nan"):
        relevance_of(good, Items(np.full((2, 2), np.nan), ["a", "b"], ["x", "y"]))
    with pytest.raises(DataError, match=r"\(2, 2\) and \(2, 3\)"):
        relevance_of(good, Items(np.eye(3)[:2], ["a", "b"], ["x", "y"]))
    with pytest.raises(UsageError, match="observed 0, expected at least 1"):
        list(first_hits(good, good, 0))
