from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from hetsearch.data.sides import Sides
from hetsearch.evaluation.examples import pick_examples
from hetsearch.evaluation.scores import score


@pytest.fixture
def picked(make_images):
    def pick(blur, n=120):
        images = make_images(n, classes=6)
        rng = np.random.default_rng(40)
        kinds = np.arange(n) % 6
        vectors = np.eye(6)[kinds] + blur * rng.normal(size=(n, 6))
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        sides = Sides.of(images)
        scores = score(sides.query(vectors), sides.gallery(vectors))
        return pick_examples(vectors, vectors, sides, scores.scored, scores.values["p@1"]), scores

    return pick


def failed(example):
    return example.hits[0][1] != example.label


def test_half_are_failures_where_there_are_enough(picked):
    examples, scores = picked(blur=0.5)
    assert 6 < (scores.values["p@1"] == 0).sum() < 114
    assert [failed(example) for example in examples] == [True] * 6 + [False] * 6
    assert len({example.key for example in examples}) == 12
    for half in (examples[:6], examples[6:]):
        assert max(Counter(example.label for example in half).values()) == 1
    for example in examples:
        assert len(example.hits) == 5
        assert example.key not in [key for key, _, _ in example.hits]
        values = [value for _, _, value in example.hits]
        assert values == sorted(values, reverse=True)


def test_without_failures_all_are_successes(picked):
    examples, scores = picked(blur=0.01)
    assert scores.values["p@1"].all()
    assert len(examples) == 12
    assert not any(map(failed, examples))
    assert set(Counter(example.label for example in examples).values()) == {2}


def test_where_successes_are_few_failures_fill_up(picked):
    examples, scores = picked(blur=2.0, n=24)
    right = int(scores.values["p@1"].sum())
    assert right < 6
    assert len(examples) == min(12, scores.n_queries)
    assert sum(not failed(example) for example in examples) == right


def test_the_choice_is_always_the_same(picked):
    assert picked(blur=0.5)[0] == picked(blur=0.5)[0]
