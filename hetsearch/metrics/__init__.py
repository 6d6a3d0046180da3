"""What is measured: pure functions on arrays, NumPy only, one concept a file.

A ranking gives rows of relevance, best first; every retrieval metric reads such rows and gives one number a
query, NaN where a query has no positives. Means and intervals over queries come last. Verification and
identification read scores, compatibility a matrix of means, flips who was right before and is now.

Other libraries were read before these were written, and where they differ a sentence says so. One more:
pytorch-metric-learning 2.9's ``AccuracyCalculator`` leaves a query's own image out by its row and raises
ValueError unless the gallery's first vectors equal the queries', so that it cannot score one encoder's
queries on another's gallery.
"""

from hetsearch.metrics.bootstrap import (
    bootstrap_means,
    difference_interval,
    interval,
    mean_interval,
    ratio_interval,
)
from hetsearch.metrics.compatibility import average_compatibility, criterion_matrix
from hetsearch.metrics.discounted_gain import ndcg
from hetsearch.metrics.flips import ClassFlips, Flips, flip_rates, flip_rates_by_class
from hetsearch.metrics.gain import update_gain
from hetsearch.metrics.identification import BestScores, Identified, best_scores, tpir_at_fpir
from hetsearch.metrics.judged import Judged, ranked_judgements, revisited_protocols
from hetsearch.metrics.map import average_precision
from hetsearch.metrics.map_at_k import average_precision_at_k
from hetsearch.metrics.map_at_r import average_precision_at_r
from hetsearch.metrics.precision import precision_at_1
from hetsearch.metrics.precision_at_r import r_precision
from hetsearch.metrics.ranking import Items, first_hits, ranked_relevance
from hetsearch.metrics.recall import recall_at_k
from hetsearch.metrics.recall_curve import recall_at_each_k
from hetsearch.metrics.trapezoid import trapezoidal_average_precision
from hetsearch.metrics.verification import PairScores, Verified, pair_scores, tar_at_far

__all__ = [
    "BestScores",
    "ClassFlips",
    "Flips",
    "Identified",
    "Items",
    "Judged",
    "PairScores",
    "Verified",
    "average_compatibility",
    "average_precision",
    "average_precision_at_k",
    "average_precision_at_r",
    "best_scores",
    "bootstrap_means",
    "criterion_matrix",
    "difference_interval",
    "first_hits",
    "flip_rates",
    "flip_rates_by_class",
    "interval",
    "mean_interval",
    "ndcg",
    "pair_scores",
    "precision_at_1",
    "r_precision",
    "ranked_judgements",
    "ranked_relevance",
    "ratio_interval",
    "recall_at_each_k",
    "recall_at_k",
    "revisited_protocols",
    "tar_at_far",
    "tpir_at_fpir",
    "trapezoidal_average_precision",
    "update_gain",
]
