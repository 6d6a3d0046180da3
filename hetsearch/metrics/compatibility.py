"""Of a sequence of encoders, which pairs are backward-compatible?

The matrix of a metric M is square, encoders from the oldest to the newest on both sides: row t is the query
encoder, column k the gallery's, so M[t, k] with k < t, below the diagonal, is a newer query encoder on an
older gallery. The diagonal holds each encoder on its own gallery. What lies above it, older queries on newer
galleries, is not asked about and may be NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.errors import DataError


def criterion_matrix(matrix: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pairs meet the compatibility criterion, strictly: M[t, k] > M[k, k] with k < t.

    Shen et al.: "Towards Backward-Compatible Representation Learning" (CVPR 2020), the empirical criterion.

    Args:
        matrix: ``(T, T)``, greater is better.

    Returns:
        ``(T, T)``; false on and above the diagonal.

    Raises:
        DataError: not square, or NaN on or below the diagonal.

    >>> criterion_matrix(np.array([[0.5, np.nan], [0.6, 0.7]])).tolist()
    [[False, False], [True, False]]
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or np.isnan(np.tril(matrix)).any():
        raise DataError(
            "the matrix of encoders is wrong",
            observed=f"shape {matrix.shape}",
            expected="a square one, measured on and below the diagonal",
        )
    return np.tril(matrix > np.diagonal(matrix), k=-1)


def average_compatibility(matrix: NDArray[Any]) -> float:
    """AC: the share of the T(T-1)/2 pairs below the diagonal that meet the criterion.

    Biondi et al.: "CoReS: Compatible Representations via Stationarity" (TPAMI 2023). A tie fails, as the
    published criterion has it; CoReS' own code counts only M[t, k] < M[k, k] as a violation, so a tie passes
    there, and that of iamcl2r counts <=, as here.

    Args:
        matrix: ``(T, T)``, see :func:`criterion_matrix`.

    Returns:
        0 to 1; NaN for fewer than two encoders.

    Raises:
        DataError: see :func:`criterion_matrix`.

    >>> round(average_compatibility(np.array([[0.5, 0.0, 0.0], [0.6, 0.7, 0.0], [0.5, 0.8, 0.9]])), 4)
    0.6667
    """
    met = criterion_matrix(matrix)
    pairs = len(met) * (len(met) - 1) // 2
    return int(np.count_nonzero(met)) / pairs if pairs else float("nan")
