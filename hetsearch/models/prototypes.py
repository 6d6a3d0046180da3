"""A closed-form head: an embedding is drawn towards the class means that it resembles.

A small network leaves the pictures that it is unsure of between the classes, where the gallery encoder puts few and
doubtful ones. One step of attention over the gallery encoder's class means brings them back to where it would have put
them: the cosine to its own vectors rises, and with it what is found first.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from hetsearch.space import Vectors, check_vectors

MOST = 64  # rows; more would outweigh a compact network
SCALES = (4.0, 8.0, 16.0, 32.0)
STRENGTHS = tuple(step / 10 for step in range(1, 21))


class PrototypeAttention(nn.Module):
    """``(batch, dim)`` unit rows → ``normalise(z + strength · softmax(scale · z Mᵀ) M)``.

    The update is that of "Hopfield Networks is All You Need" (Ramsauer et al., ICLR 2021, equation 3), as a residual.

    Args:
        count: rows of M.
        dim: length of a row.
    """

    strength: Tensor
    scale: Tensor

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(count, dim), requires_grad=False)
        self.register_buffer("strength", torch.zeros(()))
        self.register_buffer("scale", torch.zeros(()))

    def forward(self, z: Tensor) -> Tensor:
        """Unit rows."""
        weights = torch.softmax(self.scale * (z @ self.rows.T), dim=1)
        return F.normalize(z + self.strength * (weights @ self.rows), dim=1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one embedding."""
        return 2 * self.rows.numel()


def class_means(vectors: Vectors, labels: NDArray[np.int64]) -> Vectors:
    """The direction of each class, ``(classes, dim)``: unit rows, of the classes of which a vector is known.

    Args:
        vectors: ``(n, dim)``; rows of zeros are unknown.
        labels: ``(n,)``.
    """
    known = vectors.any(axis=1)
    rows = np.stack([vectors[known & (labels == label)].mean(axis=0) for label in np.unique(labels[known])])
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def fit_prototypes(query: Vectors, gallery: Vectors, rows: Vectors) -> PrototypeAttention | None:
    """The strength and scale that bring the rows of ``query`` nearest to those of ``gallery``, by mean cosine.

    Args:
        query: ``(n, dim)`` unit rows, the query encoder's.
        gallery: ``(n, dim)`` unit rows, the gallery encoder's, of the same images in the same order.
        rows: ``(count, dim)``, from :func:`class_means`.

    Returns:
        The head; None where no strength is better than none.

    Raises:
        DataError: NaN, another dimension, or rows that are not unit vectors.
    """
    for vectors, what in ((query, "the query encoder's"), (gallery, "the gallery encoder's"), (rows, "the classes'")):
        check_vectors(vectors, query.shape[1], what=f"{what} vectors")
    best, found = float((query * gallery).sum(axis=1).mean()), None
    head = PrototypeAttention(*rows.shape)
    head.rows.copy_(torch.from_numpy(rows))
    z, wanted = torch.from_numpy(query), torch.from_numpy(gallery)
    for scale in SCALES:
        for strength in STRENGTHS:
            cosine = float((_set(head, strength, scale)(z) * wanted).sum(dim=1).mean())
            if cosine > best:
                best, found = cosine, (strength, scale)
    return None if found is None else _set(head, *found)


def _set(head: PrototypeAttention, strength: float, scale: float) -> PrototypeAttention:
    head.strength.fill_(strength)
    head.scale.fill_(scale)
    return head
