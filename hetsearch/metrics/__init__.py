"""What is measured: pure functions on arrays, NumPy only, one concept a file.

A ranking gives rows of relevance, best first; every retrieval metric reads such rows and gives one number a
query, NaN where a query has no positives. Means and intervals over queries come last.
"""

from hetsearch.metrics.bootstrap import (
    bootstrap_means,
    difference_interval,
    interval,
    mean_interval,
    ratio_interval,
)
from hetsearch.metrics.flips import Flips, flip_rates
from hetsearch.metrics.map import average_precision
from hetsearch.metrics.map_at_r import average_precision_at_r
from hetsearch.metrics.precision import precision_at_1
from hetsearch.metrics.ranking import Items, first_hits, ranked_relevance
from hetsearch.metrics.recall import recall_at_k
from hetsearch.metrics.recall_curve import recall_at_each_k

__all__ = [
    "Flips",
    "Items",
    "average_precision",
    "average_precision_at_r",
    "bootstrap_means",
    "difference_interval",
    "first_hits",
    "flip_rates",
    "interval",
    "mean_interval",
    "precision_at_1",
    "ranked_relevance",
    "ratio_interval",
    "recall_at_each_k",
    "recall_at_k",
]
