"""One realistic evaluation, made by hand: ten classes of FashionMNIST, clustered vectors, known figures."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from hetsearch.evaluation.result import METRICS, EncoderRow, Evaluation, Example, FlipRow, MatrixRow, Verdict
from hetsearch.space import Embeddings

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
SPACE, FREE_SPACE = "sp_3f9a0c1b77de4210", "sp_9911aa55cc3377ee"
G, Q, F = "gallery-encoder", "query-encoder", "free-encoder"
# P@1, R@10, mAP, mAP@R
FIGURES = {
    (G, G, "paragon"): (0.9467, 0.9871, 0.9402, 0.9233),
    (Q, Q, "homogeneous"): (0.9391, 0.9846, 0.9227, 0.9012),
    (Q, G, "heterogeneous"): (0.9413, 0.9852, 0.9361, 0.9174),
    (F, F, "baseline"): (0.9202, 0.9809, 0.8915, 0.8653),
    (F, G, "control"): (0.1034, 0.4127, 0.1456, 0.0321),
}
CEILING = {"p@1": 0.9471, "r@10": 0.9874, "map": 0.9409, "map@r": 0.9241}


def matrix(figures=FIGURES):
    return tuple(
        MatrixRow(
            query, gallery, kind,
            dict(zip(METRICS, values, strict=True)),
            {metric: (value - 0.0043, value + 0.0041) for metric, value in zip(METRICS, values, strict=True)},
        )
        for (query, gallery, kind), values in figures.items()
    )  # fmt: skip


FLIPS = {
    "Shirt": FlipRow(1000, 0.06, 0.02, 0.81, 0.77),
    "T-shirt/top": FlipRow(1000, 0.03, 0.035, 0.9, 0.905),
    "Bag": FlipRow(1000, 0.0, 0.0, 0.99, 0.99),
}


def verdict(free=True):
    light, own = FIGURES[Q, G, "heterogeneous"], FIGURES[Q, Q, "homogeneous"]
    baseline = FIGURES[F, F, "baseline"]
    at = dict(zip(METRICS, light, strict=True))
    differences = {
        "compatible": {
            metric: {"difference": a - b, "ci": [a - b - 0.003, a - b + 0.003]}
            for metric, a, b in zip(METRICS, light, own, strict=True)
        },
        "useful": {
            metric: {"difference": a - b, "ci": [a - b - 0.004, a - b + 0.004]}
            for metric, a, b in zip(METRICS, light, baseline, strict=True)
        },
        "retention": {m: {"ratio": at[m] / CEILING[m], "ci": [0.9871, 1.0042]} for m in METRICS},
    }
    gain = {m: (at[m] - b) / (CEILING[m] - b) for m, b in zip(METRICS, baseline, strict=True)}
    if not free:
        del differences["useful"]
    return Verdict(
        compatible={"p@1": None, "r@10": None, "map": True, "map@r": True},
        useful=dict.fromkeys(METRICS, True if free else None),
        retention={metric: at[metric] / CEILING[metric] for metric in METRICS},
        gain=gain if free else dict.fromkeys(METRICS),
        nfr_at_1=0.0123,
        pfr_at_1=0.0069,
        differences=differences,
        reasons={"compatible.p@1": "the 95 % interval of M(q,g) - M(q,q), [-0.0008, +0.0052], holds 0"},
        flips=FLIPS,
    )


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def vectors(n=300, dim=16):
    """Clustered vectors of the gallery and the query encoder, and the class of each row."""
    rng = np.random.default_rng(5)
    kinds = np.arange(n) % len(CLASSES)
    heavy = unit(rng.normal(size=(len(CLASSES), dim))[kinds] + 0.25 * rng.normal(size=(n, dim)) + 0.3)
    return heavy, unit(heavy + 0.08 * rng.normal(size=(n, dim))), kinds


def curve(start):
    return 1.0 - (1.0 - start) / np.sqrt(np.arange(1, 101))


def examples():
    right = Example("test/00017", "Bag", tuple((f"test/{i:05}", "Bag", 0.95 - i / 100) for i in range(5)))
    labels = ("Pullover", "Shirt", "Shirt", "Coat", "Shirt")
    hits = tuple((f"test/{50 + i:05}", label, 0.81 - i / 100) for i, label in enumerate(labels))
    return (right, Example("test/00042", "Shirt", hits))


def evaluation(**changes):
    heavy, light, kinds = vectors()
    keys = tuple(f"test/{i:05}" for i in range(len(heavy)))
    content = {
        "data": "fashion-mnist:test",
        "n_queries": 10_000,
        "n_gallery": 10_001,
        "n_without_positives": 3,
        "encoders": {
            G: EncoderRow("gallery", SPACE, 23_498_432, 290_114_560, 24_112_038, 21.43, "int8-weights"),
            Q: EncoderRow("query", SPACE, 113_965, 2_631_680, 531_992, 0.381),
            F: EncoderRow("free", FREE_SPACE, 113_964, 2_631_681, 531_990, 0.379),
        },
        "matrix": matrix(),
        "verdicts": {Q: verdict()},
        "paragon": {"source": "recorded, float32", "metrics": CEILING},
        "recall": {(query, gallery): curve(values[0]) for (query, gallery, _), values in FIGURES.items()},
        "embeddings": {G: Embeddings(heavy, SPACE, keys), Q: Embeddings(light, SPACE, keys)},
        "labels": tuple(CLASSES[kind] for kind in kinds),
        "examples": {Q: examples()},
        "settings": {
            "protocol": "leave-one-out",
            "bootstrap": {"draws": 1000, "seed": 20261122},
            "failures": [{"key": "test/00099", "reason": "truncated"}],
            "machine": "Linux x86_64, 2 CPUs",
            "command": "hetsearch evaluate --data fashion-mnist:test",
        },
    }
    return Evaluation(**(content | changes))


def thumbnail(key):
    """A small real PNG, different for different keys."""
    pixels = np.random.default_rng(sum(key.encode())).integers(0, 256, (28, 28), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
