from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hetsearch.errors import UsageError
from hetsearch.gallery.jobs.order import ORDERS, margins, ranking, require_order
from tests.pair import Pair


def test_margins_against_a_loop(pair: Pair) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(40, pair.after.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = []
    for vector in vectors.astype(np.float64):
        cosines = sorted(float(vector @ row) for row in pair.after.classifier)
        expected.append(cosines[-1] - cosines[-2])
    assert np.allclose(margins(vectors, pair.after), expected, atol=1e-6)


def test_a_space_without_classes_has_no_margins(pair: Pair) -> None:
    vectors = np.eye(16, dtype=np.float32)[:1]
    with pytest.raises(UsageError, match=r"needs the classifier of the space .*: observed none.*--order random"):
        margins(vectors, replace(pair.after, classifier=None, classes=()))
    one = replace(pair.after, classifier=pair.after.classifier[:1], classes=pair.after.classes[:1])
    with pytest.raises(UsageError, match="observed 1 class"):
        margins(vectors, one)


def test_a_ranking_breaks_ties_by_id() -> None:
    assert ranking(np.array([5, 3, 9, 1]), np.array([0.5, 0.5, -1.0, 0.5])).tolist() == [2, 3, 1, 0]


def test_an_unknown_order() -> None:
    for name in ORDERS:
        require_order(name)
    with pytest.raises(UsageError, match=r"no order 'gian'. Did you mean 'gain'\? Known: gain, random"):
        require_order("gian")
