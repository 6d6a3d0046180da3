"""Two encoders' random embeddings of one set of images, with everything that makes a ranking go wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hetsearch.metrics import Items, ranked_relevance


@dataclass(frozen=True)
class World:
    """Leave-one-out across two encoders; ``ranking`` is the brute force one, plain Python."""

    query: Items
    gallery: Items

    def ranking(self, row: int) -> list[tuple[float, int, bool]]:
        """Score, key and relevance of each item that is not excluded, best first."""
        q, g = self.query, self.gallery
        kept = []
        for item in range(len(g)):
            same_group = q.groups[row] != "" and q.groups[row] == g.groups[item]
            if q.keys[row] == g.keys[item] or same_group:
                continue
            score = round(sum(float(a) * float(b) for a, b in zip(q.vectors[row], g.vectors[item], strict=True)), 9)
            kept.append((score, int(g.keys[item]), bool(q.labels[row] == g.labels[item])))
        return sorted(kept, key=lambda hit: (-hit[0], hit[1]))

    def rankings(self) -> list[list[tuple[float, int, bool]]]:
        return [self.ranking(row) for row in range(len(self.query))]

    def relevance(self) -> np.ndarray:
        return np.concatenate([rows for _, rows in ranked_relevance(self.query, self.gallery)])


def world(seed: int, n: int = 60) -> World:
    """Ties (a third of the vectors are copies), lone classes, self-matches, groups, negative scores."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(["cat", "dog", "owl", "yak"], n)
    labels[:2] = ["lone", "alone"]
    centres = {name: rng.normal(size=4) for name in np.unique(labels)}
    base = np.stack([centres[name] for name in labels])
    keys = rng.permutation(n)
    groups = rng.choice(["", "", "g", "h", "i"], n)
    sides = []
    for noise in (1.5, 0.8):
        vectors = base + noise * rng.normal(size=base.shape)
        copies = rng.permutation(n)[: n // 3]
        vectors[copies] = vectors[rng.integers(0, n, n // 3)]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        sides.append(Items(vectors.astype(np.float32), labels, keys, groups))
    return World(*sides)
