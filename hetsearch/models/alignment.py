"""A closed-form map of a trained query encoder's embeddings onto the gallery encoder's, folded into its last layer."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hetsearch.errors import DataError, UsageError
from hetsearch.models.network import EncoderNetwork
from hetsearch.space import Vectors, check_vectors

Matrix = NDArray[np.float64]


def fit_map(
    query: Vectors, gallery: Vectors, method: Literal["procrustes", "ridge"], *, ridge: float = 1e-3
) -> Matrix:
    """Fit ``A`` so that the rows of ``query @ A`` come near to those of ``gallery``, over the same images.

    ``procrustes`` is the orthogonal ``A`` (rotation, with or without reflection) of least ``‖QA − G‖_F``: ``A = UVᵀ``
    of the singular value decomposition ``QᵀG = USVᵀ`` ("A generalized solution of the orthogonal Procrustes problem",
    Schönemann, 1966). Every similarity among queries stays as it is.

    ``ridge`` is the ``A`` of least ``‖QA − G‖²_F / n + ridge · ‖A − I‖²_F``. The penalty draws towards the identity
    rather than towards zero: an infinite one leaves the encoder as it is.

    Both minimise distances before the mapped rows are normalised again, and have no offset.

    Args:
        query: ``(n, dim)`` unit rows, the query encoder's.
        gallery: ``(n, dim)`` unit rows, the gallery encoder's, of the same images in the same order.
        method: which of the two.
        ridge: weight of the penalty, at least 0; the eigenvalues that it is added to are ``1 / dim`` on average.

    Returns:
        ``(dim, dim)``, float64.

    Raises:
        DataError: the two have not the same shape, fewer rows than dimensions, or rows that are not unit vectors.
        UsageError: a negative or undefined ``ridge``, or an unknown method.
    """
    _check(query, gallery)
    q, g = query.astype(np.float64), gallery.astype(np.float64)
    if method == "procrustes":
        left, _, right = np.linalg.svd(q.T @ g)
        return np.asarray(left @ right)
    if method == "ridge":
        return _ridge(q, g, ridge)
    raise UsageError("unknown method of alignment", observed=f"'{method}'", expected="procrustes or ridge")


def fold(network: EncoderNetwork, matrix: NDArray[Any]) -> None:
    """Multiply a map into the last layer, so that the network embeds as ``normalise(embedding @ matrix)``.

    Args:
        network: changed in place; it keeps its device, its size and its speed.
        matrix: ``(dim, dim)``, from :func:`fit_map`.

    Raises:
        DataError: another shape, or NaN or infinity.
    """
    if matrix.shape != (network.dim, network.dim):
        raise DataError(
            "the map has the wrong shape", observed=matrix.shape, expected=f"({network.dim}, {network.dim})"
        )
    if not np.isfinite(matrix).all():
        raise DataError("the map holds NaN or infinity")
    layer = network.embedding
    transposed = torch.from_numpy(np.ascontiguousarray(matrix.T, dtype=np.float64))
    with torch.no_grad():  # the product in float64 on the CPU: not every accelerator has float64
        layer.weight.copy_(transposed @ layer.weight.cpu().double())
        layer.bias.copy_(transposed @ layer.bias.cpu().double())


def _ridge(query: Matrix, gallery: Matrix, ridge: float) -> Matrix:
    if not ridge >= 0:
        raise UsageError("'ridge' is wrong", observed=ridge, expected="0 or more")
    count, dim = query.shape
    if math.isinf(ridge):
        return np.eye(dim)
    # What is fitted is A − I. As least squares over stacked rows rather than by normal equations, which square the
    # condition number and fail where the queries lie in a subspace; there A − I is the smallest of the solutions.
    rows = np.vstack([query, math.sqrt(count * ridge) * np.eye(dim)])
    wanted = np.vstack([gallery - query, np.zeros((dim, dim))])
    return np.eye(dim) + np.linalg.lstsq(rows, wanted, rcond=None)[0]


def _check(query: Vectors, gallery: Vectors) -> None:
    if query.ndim != 2 or query.shape != gallery.shape:
        raise DataError(
            "an alignment needs both encoders' embeddings of the same images",
            observed=f"{query.shape} and {gallery.shape}",
            expected="twice (n, dim)",
        )
    count, dim = query.shape
    if count < dim:
        raise DataError(
            "too few images for an alignment",
            observed=count,
            expected=f"at least {dim}, one for each dimension",
            hint="Fit it on more images, or leave it out.",
        )
    check_vectors(query, dim, what="the query encoder's embeddings")
    check_vectors(gallery, dim, what="the gallery encoder's embeddings")
