"""Run encoders over labelled images: matrix, verdict, cost, report. Never imports torch.

From Python: :func:`evaluate` with encoders and images, :func:`evaluate_embeddings` with arrays alone.
"""

from hetsearch.evaluation.embeddings import evaluate_embeddings
from hetsearch.evaluation.evaluate import evaluate
from hetsearch.evaluation.result import (
    METRICS,
    EncoderRow,
    Evaluation,
    Example,
    Interval,
    MatrixRow,
    Verdict,
)
from hetsearch.evaluation.write import write_evaluation

__all__ = [
    "METRICS",
    "EncoderRow",
    "Evaluation",
    "Example",
    "Interval",
    "MatrixRow",
    "Verdict",
    "evaluate",
    "evaluate_embeddings",
    "write_evaluation",
]
