"""An older and a newer gallery encoder on real pictures, the newer one backward-compatible: made in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hetsearch.preprocess import InputSpec
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.space import EmbeddingSpace
from tests.support import OTHER_SPACE, SPACE, linear_bundle, linear_weights

DIM = 16
BETTER = {"p@1": True, "map": True}
RECORD: dict[str, Any] = {
    "space": SPACE,
    "data": "slice",
    "metrics": None,
    "differences": {name: {"difference": 0.1, "ci": [0.05, 0.15]} for name in BETTER},
    "compatible": BETTER,
}


@dataclass(frozen=True)
class Pair:
    """Both encoders, loaded, and their spaces; the newer space lies beside the newer bundle."""

    old: OnnxEncoder
    new: OnnxEncoder
    before: EmbeddingSpace
    after: EmbeddingSpace
    folder: Path

    def declaring(self, **changes: Any) -> EmbeddingSpace:
        """The newer space with another record of the older one."""
        return replace(self.after, compatible_with=({**RECORD, **changes},))


def make_pair(folder: Path, pixels: np.ndarray, labels: np.ndarray, name: str = "class-{}") -> Pair:
    """Write both bundles and spaces below ``folder``.

    The older encoder projects the centred pixels by chance. The newer one is the ridge regression onto the older
    space's class means: what the frozen classifier of BCT asks for, in closed form.

    Args:
        folder: where.
        pixels: ``uint8 (n, 28, 28)`` to learn from.
        labels: ``(n,)``.
        name: of a class, from its number.
    """
    spec = InputSpec()
    flat = ((pixels.reshape(len(pixels), -1) / 255.0 - spec.mean[0]) / spec.std[0]).astype(np.float64)
    center = flat.mean(axis=0)
    chance = linear_weights(DIM, spec, 0)[0].astype(np.float64)
    old = unit((flat - center) @ chance)
    means = class_means(old, labels)
    gram = (flat - center).T @ (flat - center) + 0.3 * len(flat) * np.eye(flat.shape[1])
    matrix = np.linalg.solve(gram, (flat - center).T @ means[labels])
    bias = means[labels].mean(axis=0) - center @ matrix
    new = unit(flat @ matrix + bias)
    classes = tuple(name.format(number) for number in range(len(means)))
    before = EmbeddingSpace(SPACE, DIM, "f" * 64, classes, means.astype(np.float32), 16.0)
    rows = class_means(new, labels).astype(np.float32)
    after = EmbeddingSpace(OTHER_SPACE, DIM, "e" * 64, classes, rows, 16.0, compatible_with=(RECORD,))
    before.save(folder / "old" / "space")
    after.save(folder / "new" / "space")
    networks = {"old": (SPACE, chance, -center @ chance), "new": (OTHER_SPACE, matrix, bias)}
    bundles = [
        linear_bundle(
            folder / which / "gallery-encoder", space=space, role="gallery",
            weights=(projection.astype(np.float32), offset.astype(np.float32)),
        )
        for which, (space, projection, offset) in networks.items()
    ]  # fmt: skip
    return Pair(load_encoder(bundles[0]), load_encoder(bundles[1]), before, after, folder)


def class_means(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean direction of each class, unit rows, in float64."""
    return unit(np.stack([vectors[labels == label].mean(axis=0) for label in range(labels.max() + 1)]))


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows, each of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
