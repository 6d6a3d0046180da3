"""Numbers from arrays alone: against plain loops, scikit-learn, and by hand."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from hetsearch.errors import DataError, UsageError
from hetsearch.evaluation import evaluate_embeddings


def unit(rng, n, dim):
    vectors = rng.normal(size=(n, dim))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def brute(query, gallery, query_labels, gallery_labels, query_keys, gallery_keys, ks):
    """The protocol in plain loops."""
    sums = {name: [] for name in ("p@1", *(f"r@{k}" for k in ks), "map", "map@r")}
    without = 0
    for q in range(len(query)):
        found = []
        for g in range(len(gallery)):
            if query_keys[q] != gallery_keys[g]:
                score = round(sum(float(a) * float(b) for a, b in zip(query[q], gallery[g], strict=True)), 9)
                found.append((-score, gallery_keys[g], gallery_labels[g] == query_labels[q]))
        hits = [hit for _, _, hit in sorted(found)]
        positives = sum(hits)
        if not positives:
            without += 1
            continue
        precisions = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
        sums["p@1"].append(hits[0])
        for k in ks:
            sums[f"r@{k}"].append(any(hits[:k]))
        sums["map"].append(sum(p for p, hit in zip(precisions, hits, strict=True) if hit) / positives)
        sums["map@r"].append(
            sum(p for p, hit in zip(precisions[:positives], hits[:positives], strict=True) if hit) / positives
        )
    means = {name: float(np.mean(values)) for name, values in sums.items()}
    return {**means, "n_queries": len(query) - without, "n_without_positives": without}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [1, 15])  # rounded vectors tie; they are made unit again afterwards
def test_agrees_with_plain_loops(seed, decimals):
    rng = np.random.default_rng(seed)
    query, gallery = (np.round(unit(rng, n, 3), decimals) + 1e-3 for n in (15, 40))
    query, gallery = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in (query, gallery))
    labels = rng.choice(["a", "b", "c", "d"], 15).tolist(), rng.choice(["a", "b", "c"], 40).tolist()
    keys = [f"k{i}" for i in range(15)], [f"k{i}" for i in rng.permutation(40)]
    ours = evaluate_embeddings(query, gallery, *labels, *keys, ks=(1, 3, 10))
    expected = brute(query, gallery, *labels, *keys, (1, 3, 10))
    assert list(ours) == list(expected)
    assert ours == pytest.approx(expected, abs=1e-12)


def test_extra_metrics_by_hand():
    # Ranking of the one query: a b a b a; three items of its label.
    gallery = np.array([[np.cos(t), np.sin(t)] for t in (0.1, 0.2, 0.3, 0.4, 0.5)])
    labels = ["a", "b", "a", "b", "a"]
    found = evaluate_embeddings(
        np.array([[1.0, 0.0]]), gallery, ["a"], labels, extra=("r-precision", "map@2", "map@9", "ndcg@1", "ndcg")
    )
    assert list(found)[5:10] == ["r-precision", "map@2", "map@9", "ndcg@1", "ndcg"]
    assert found["r-precision"] == pytest.approx(2 / 3)
    assert found["map@2"] == pytest.approx(1 / 2)
    assert found["map@9"] == pytest.approx(found["map"])
    assert found["ndcg@1"] == 1.0
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert found["ndcg"] == pytest.approx((1 + 1 / 2 + 1 / np.log2(6)) / ideal)


@pytest.mark.parametrize("name", ["map@0", "map@", "mapp", "ndcg@1.5", "r-precision@3", "map@²", "map@-1"])
def test_an_unknown_extra_metric(name):
    with pytest.raises(UsageError, match=r"an extra metric is unknown: observed '.*Known: map@k, ndcg, ndcg@k"):
        evaluate_embeddings(np.eye(2), np.eye(2), [0, 1], [0, 1], extra=(name,))


def test_map_is_scikit_learns_without_ties():
    rng = np.random.default_rng(5)
    query, gallery = unit(rng, 20, 8), unit(rng, 50, 8)
    query_labels, gallery_labels = rng.integers(0, 3, 20), rng.integers(0, 3, 50)
    expected = [
        average_precision_score(gallery_labels == label, gallery @ vector)
        for vector, label in zip(query, query_labels, strict=True)
    ]
    found = evaluate_embeddings(query, gallery, query_labels, gallery_labels)
    assert found["map"] == pytest.approx(np.mean(expected), abs=1e-12)


def test_leave_one_out_by_hand():
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    labels, keys = ["cat", "dog", "cat", "dog"], ["d", "c", "b", "a"]
    found = evaluate_embeddings(vectors, vectors, labels, labels, keys, keys)
    # d (cat): c dog, b cat, a dog → AP 1/2.  c (dog): d cat, b cat, a dog → AP 1/3.
    # b (cat): c and d are tied at 0.8, c first by key: dog, cat, dog → AP 1/2.
    # a (dog): b cat, then c and d tied at 0: c dog → AP 1/2.
    assert found["map"] == pytest.approx((1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4)
    assert (found["p@1"], found["r@1"], found["r@10"], found["map@r"]) == (0.0, 0.0, 1.0, 0.0)
    assert (found["n_queries"], found["n_without_positives"]) == (4, 0)


def test_items_of_the_querys_group_are_left_out():
    # The nearest item and its twin are of the query's group; of the others the dog comes first.
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [0.6, 0.8]])
    labels, groups = ["cat", "cat", "dog", "cat"], ["a", "a", "b", "b"]
    both = {"query_groups": groups[:1], "gallery_groups": groups}
    numbers = evaluate_embeddings(vectors[:1], vectors, labels[:1], labels, **both)
    assert (numbers["p@1"], numbers["map"]) == (0.0, 0.5)
    with pytest.raises(DataError, match="only one side has groups"):
        evaluate_embeddings(vectors[:1], vectors, labels[:1], labels, query_groups=groups[:1])


def test_without_keys_nothing_is_left_out():
    vectors = np.eye(3)
    found = evaluate_embeddings(vectors, vectors, [0, 1, 2], [0, 1, 2])
    assert found["p@1"] == found["map"] == 1.0


def test_queries_without_positives_are_skipped_and_counted():
    vectors = np.eye(3)
    found = evaluate_embeddings(vectors, vectors[:1], ["a", "b", "b"], ["a"])
    assert (found["n_queries"], found["n_without_positives"], found["map"]) == (1, 2, 1.0)


def test_no_query_with_positives_gives_nan_and_no_warning():
    found = evaluate_embeddings(np.eye(2), np.eye(2), ["a", "b"], ["c", "d"])
    assert (found["n_queries"], found["n_without_positives"]) == (0, 2)
    assert all(np.isnan(found[name]) for name in ("p@1", "r@1", "r@10", "map", "map@r"))
    empty = evaluate_embeddings(np.zeros((0, 2)), np.zeros((0, 2)), [], [])
    assert (empty["n_queries"], empty["n_without_positives"]) == (0, 0)


def test_keys_of_the_result_follow_ks():
    found = evaluate_embeddings(np.eye(2), np.eye(2), [0, 1], [0, 1], ks=(5,))
    assert list(found) == ["p@1", "r@5", "map", "map@r", "n_queries", "n_without_positives"]
    assert json.loads(json.dumps(found)) == found  # plain Python numbers


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_float_type_is_taken(dtype):
    rng = np.random.default_rng(6)
    vectors = unit(rng, 12, 4).astype(dtype)
    labels = rng.integers(0, 2, 12)
    wide = vectors.astype(np.float64)
    found = evaluate_embeddings(vectors, vectors, labels, labels)
    assert found == evaluate_embeddings(wide, wide, labels, labels)


@given(st.integers(0, 2**31), st.integers(2, 25))
@settings(max_examples=40, deadline=None)
def test_the_order_of_queries_and_items_does_not_matter(seed, n):
    rng = np.random.default_rng(seed)
    vectors = np.round(unit(rng, n, 2), 1) + 1e-3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels, keys = rng.integers(0, 3, n), np.arange(n)
    a, b = rng.permutation(n), rng.permutation(n)
    plain = evaluate_embeddings(vectors, vectors, labels, labels, keys, keys)
    moved = evaluate_embeddings(vectors[a], vectors[b], labels[a], labels[b], keys[a], keys[b])
    assert moved == pytest.approx(plain, abs=1e-12, nan_ok=True)


def test_bad_input_is_refused():
    eye = np.eye(2)
    with pytest.raises(DataError, match=r"query vectors are not of unit length: observed norm 2\.0000"):
        evaluate_embeddings(2 * eye, eye, [0, 1], [0, 1])
    with pytest.raises(DataError, match="the gallery vectors hold NaN or infinity"):
        evaluate_embeddings(eye, eye * np.nan, [0, 1], [0, 1])
    with pytest.raises(DataError, match=r"the query vectors have the wrong shape: observed \(3, 3\)"):
        evaluate_embeddings(np.eye(3), eye, [0, 1, 2], [0, 1])
    with pytest.raises(DataError, match="the gallery vectors are no table of numbers"):
        evaluate_embeddings(eye, eye[0], [0, 1], [0])
    with pytest.raises(DataError, match="vectors and labels do not match"):
        evaluate_embeddings(eye, eye, [0], [0, 1])
    with pytest.raises(DataError, match="vectors and keys do not match"):
        evaluate_embeddings(eye, eye, [0, 1], [0, 1], [0, 1], [0])
    with pytest.raises(DataError, match="a key of the gallery comes twice"):
        evaluate_embeddings(eye, eye, [0, 1], [0, 1], [0, 1], [0, 0])
    for k in (0, -1, 1.5, True):
        with pytest.raises(UsageError, match=r"a k of r@k is wrong"):
            evaluate_embeddings(eye, eye, [0, 1], [0, 1], ks=(k,))


def test_importing_the_room_never_imports_torch():
    code = "import sys, hetsearch.evaluation as room; room.evaluate; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
