from __future__ import annotations

import numpy as np
import pytest

from hetsearch.gallery.stores.exhaustive import best_among


@pytest.mark.parametrize("step", [1, 7, 100, 1000])
@pytest.mark.parametrize("k", [1, 5, 120])
def test_it_is_what_sorting_everything_gives(step: int, k: int) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = (rng.normal(size=(rows, 8)).astype(np.float32) for rows in (100, 6))
    ids = rng.permutation(100).astype(np.int64)
    taken = []

    def vectors_of(some: np.ndarray) -> np.ndarray:
        taken.append(len(some))
        return vectors[some]

    found, scores = best_among(queries, ids, k, vectors_of, step=step)
    exact = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    order = np.argsort(-exact, axis=1)[:, :k]
    assert np.array_equal(found[:, : order.shape[1]], order)
    assert np.allclose(scores[:, : order.shape[1]], -np.sort(-exact, axis=1)[:, :k], rtol=0, atol=1e-15)
    assert (found[:, order.shape[1] :] == -1).all()
    assert sum(taken) == 100
    assert max(taken) <= step
