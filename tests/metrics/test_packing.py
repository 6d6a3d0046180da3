from __future__ import annotations

import numpy as np

from hetsearch.metrics.packing import EXCLUDED, Plan, places_of, relevance_of, scores_of


def test_what_is_packed_can_be_read_again():
    gallery = np.array([[1.0, 0.0], [0.6, 0.8], [-0.28, 0.96], [-1.0, 0.0]])

    def mark(packed, block):
        packed[:, 2] += 1
        packed[:, 3] = EXCLUDED

    plan = Plan.of(gallery[:1], gallery, np.array([3, 1, 0, 2]), mark)
    ((block, packed),) = plan.blocks()
    assert block == slice(0, 1)
    assert places_of(packed).tolist() == [[0, 1, 2, -1]]
    assert relevance_of(packed).tolist() == [[False, False, True, False]]
    np.testing.assert_array_equal(scores_of(packed), [[-1.0, 0.6, 1.0, np.nan]])
    ((_, ranked),) = plan.ranked()
    assert ranked.tolist() == [[True, False, False, False]]
