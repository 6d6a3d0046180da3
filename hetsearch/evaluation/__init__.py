"""Run encoders over labelled images: matrix, verdict, cost, report. Never imports torch.

From Python: :func:`evaluate` with encoders and images, :func:`evaluate_embeddings` with arrays alone,
:func:`compatibility_matrix` with the vectors of any number of encoders, :func:`backfill_rows` with those of two between
which a gallery changes, :class:`Release` for gates and baselines.
"""

from hetsearch.evaluation.backfill import backfill_rows, orders_of
from hetsearch.evaluation.blending import Choice, choose_share, require_better
from hetsearch.evaluation.embeddings import evaluate_embeddings
from hetsearch.evaluation.evaluate import evaluate
from hetsearch.evaluation.gates.release import Release, require_gates
from hetsearch.evaluation.report.write import write_evaluation
from hetsearch.evaluation.result import (
    METRICS,
    BackfillRow,
    EncoderRow,
    Evaluation,
    Example,
    FlipRow,
    GateRow,
    Interval,
    MatrixRow,
    PointsRow,
    Verdict,
)
from hetsearch.evaluation.upgrades import UpgradeMatrix, compatibility_matrices, compatibility_matrix

__all__ = [
    "METRICS",
    "BackfillRow",
    "Choice",
    "EncoderRow",
    "Evaluation",
    "Example",
    "FlipRow",
    "GateRow",
    "Interval",
    "MatrixRow",
    "PointsRow",
    "Release",
    "UpgradeMatrix",
    "Verdict",
    "backfill_rows",
    "choose_share",
    "compatibility_matrices",
    "compatibility_matrix",
    "evaluate",
    "evaluate_embeddings",
    "orders_of",
    "require_better",
    "require_gates",
    "write_evaluation",
]
