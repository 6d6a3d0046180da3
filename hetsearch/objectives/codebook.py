"""SSP: the same similarities to the centroids of a product quantiser as the gallery encoder's embeddings have."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hetsearch.errors import ConfigError
from hetsearch.objectives.base import MEMORY, TARGETS, Batch, Context, Weighted

POINTS_PER_CENTROID = 256  # more sharpen a centroid little and cost time; FAISS's limit
CHUNK = 16_384  # points whose similarities to all centroids are held at once
EPSILON = 1e-4  # a shorter sub-vector has no direction worth learning; it bounds the gradient too
ABSENT = -1e4  # logit of a centroid that a sub-space lacks; minus infinity would make 0 × ∞ of it


class CodebookConfig(Weighted):
    """Structure similarity through a product-quantiser codebook."""

    subspaces: Annotated[int, Field(ge=1)] = 4  # must divide the dimension; 4 of 128 are the authors' 32 numbers each
    centroids: Annotated[int, Field(ge=2, le=4096)] = 256  # of each sub-space; never more than distinct sub-vectors
    scale: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = 10.0  # on cosines, before the softmax
    iterations: Annotated[int, Field(ge=1, le=1000)] = 20  # of k-means

    def check_dim(self, dim: int) -> None:
        """``subspaces`` has to divide the dimension, and to leave sub-vectors of more than one number."""
        # A single number has two directions and no gradient, so a sub-space has at least two.
        divisors = [divisor for divisor in range(1, dim // 2 + 1) if dim % divisor == 0]
        if self.subspaces not in divisors:
            raise ConfigError(
                f"'subspaces' of the objective 'codebook' cannot split {dim} dimensions",
                observed=self.subspaces,
                expected=f"one of: {', '.join(map(str, divisors))}",
            )


class Codebook(nn.Module):
    """``mean over sub-spaces m of KL(p_m ‖ s_m)``.

    ``p_m = softmax(scale · cos(g_m, c_m))`` over the centroids ``c_m`` of sub-space ``m``, and ``s_m`` the same of
    the network's sub-vector ``q_m``. No labels are needed.

    Source: "Structure Similarity Preservation Learning for Asymmetric Image Retrieval" (Wu et al., arXiv 2403.00648),
    with the scale of the authors' code. Deviations: there a product quantiser is fitted on sub-vectors of another set
    of images as they are, and its centroids are normalised afterwards; here k-means is spherical, on unit sub-vectors
    of the training images, because only directions enter the term.

    Raises:
        ConfigError: ``subspaces`` does not divide the dimension, or leaves sub-vectors of one number; or no training
            image has an embedding.
    """

    needs: ClassVar[frozenset[str]] = frozenset({TARGETS, MEMORY})
    centroids: Tensor
    absent: Tensor

    def __init__(self, config: CodebookConfig, context: Context) -> None:
        super().__init__()
        config.check_dim(context.dim)
        assert context.memory is not None  # MEMORY is among the needs
        if not len(context.memory.vectors):
            raise ConfigError("no training image has an embedding to fit the objective 'codebook' on")
        self.scale, self.subspaces = config.scale, config.subspaces
        centroids, absent = fit_codebook(
            context.memory.vectors, config.subspaces, config.centroids, iterations=config.iterations, seed=context.seed
        )
        self.register_buffer("centroids", centroids, persistent=False)
        self.register_buffer("absent", absent, persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """Mean over the images whose target is known; 0 where none is."""
        assert batch.targets is not None  # TARGETS is among the needs
        known = batch.known
        expected, observed = self._log_codes(batch.targets), self._log_codes(batch.embeddings)
        divergence = F.kl_div(observed, expected, reduction="none", log_target=True).sum(dim=2).mean(dim=1)
        return (divergence * known).sum() / known.sum().clamp(min=1)

    def _log_codes(self, vectors: Tensor) -> Tensor:
        """``(batch, dim)`` → logarithms of the soft codes, ``(batch, subspaces, centroids)``."""
        parts = split(vectors, self.subspaces)
        logits = self.scale * torch.einsum("bmd,mkd->bmk", parts, self.centroids)
        return F.log_softmax(logits.masked_fill(self.absent, ABSENT), dim=2)


def split(vectors: Tensor, subspaces: int) -> Tensor:
    """``(n, dim)`` → unit sub-vectors ``(n, subspaces, dim / subspaces)``."""
    return F.normalize(vectors.reshape(len(vectors), subspaces, vectors.shape[1] // subspaces), dim=2, eps=EPSILON)


def fit_codebook(
    vectors: Tensor, subspaces: int, centroids: int, *, iterations: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Fit the centroids of each sub-space on the CPU, so that a seed gives the same ones on every device.

    Args:
        vectors: ``(n, dim)``.
        subspaces: into how many equal parts a vector is cut.
        centroids: of each sub-space, at most.
        iterations: of k-means.
        seed: of the first centroids, and of the sample where there are very many vectors.

    Returns:
        Unit centroids ``(subspaces, most, dim / subspaces)``, and whether each place is absent, ``(subspaces, most)``
        bool: a sub-space with fewer distinct sub-vectors than the others has fewer centroids.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(vectors), generator=generator)[: POINTS_PER_CENTROID * centroids]
    parts = split(vectors.detach()[chosen.to(vectors.device)].float().cpu(), subspaces)
    fitted = []
    for part in parts.unbind(dim=1):
        points, repeats = torch.unique(part, dim=0, return_counts=True)
        first = points[torch.randperm(len(points), generator=generator)[:centroids]]
        fitted.append(spherical_k_means(points, repeats, first, iterations=iterations))
    most = max(map(len, fitted))
    padded = torch.stack([F.pad(one, (0, 0, 0, most - len(one))) for one in fitted])
    absent = torch.stack([torch.arange(most) >= len(one) for one in fitted])
    return padded, absent


def spherical_k_means(points: Tensor, repeats: Tensor, first: Tensor, *, iterations: int) -> Tensor:
    """Centroids of unit rows by cosine, after a fixed number of rounds of assignment and update.

    Args:
        points: ``(n, dim)`` distinct unit rows.
        repeats: ``(n,)``, how often each of them occurs.
        first: ``(k, dim)`` the centroids to begin with, at most ``n``.
        iterations: rounds.

    Returns:
        ``(k, dim)`` unit rows; one that got no point in the last round is on a point far from its own centroid.
    """
    centroids = first
    for _ in range(iterations):
        cosines, nearest = _nearest(points, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, nearest, points * repeats[:, None])
        lengths = sums.norm(dim=1, keepdim=True)
        # Opposite points cancel; such a centroid stays where it was.
        centroids = torch.where(lengths > EPSILON, sums / lengths.clamp(min=EPSILON), centroids)
        empty = torch.bincount(nearest, minlength=len(centroids)) == 0
        centroids[empty] = points[cosines.topk(int(empty.sum()), largest=False).indices]
    return centroids


def _nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine to the nearest centroid, and which one it is: both ``(n,)``."""
    best = [(chunk @ centroids.T).max(dim=1) for chunk in torch.split(points, CHUNK)]
    return torch.cat([one.values for one in best]), torch.cat([one.indices for one in best])
