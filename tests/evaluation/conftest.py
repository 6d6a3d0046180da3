"""Encoders that are one matrix, and small noisy pictures of a few classes: an evaluation without any file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from hetsearch.bundle import EncoderCard
from hetsearch.preprocess import InputSpec

SPEC = InputSpec(size=8, channels=1)
SPACE, FREE_SPACE = "sp_00112233445566aa", "sp_ffeeddccbbaa9988"


@dataclass
class FakeEncoder:
    """Projects centred pixels with one matrix."""

    name: str
    card: EncoderCard
    matrix: np.ndarray
    seen: int = field(default=0)  # images embedded so far

    @property
    def space(self):
        return self.card.space

    @property
    def dim(self):
        return self.card.dim

    @property
    def input(self):
        return self.card.input

    def encode_pixels(self, pixels):
        assert pixels.dtype == np.uint8
        self.seen += len(pixels)
        vectors = (pixels.reshape(len(pixels), -1) / 255.0 - 0.5) @ self.matrix
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _encoder(
    name, *, space=SPACE, role="query", noise=0.0, seed=0, dim=12, used=12, precision="float32", numbers=None
):
    shared = np.random.default_rng(seed).normal(size=(64, dim))
    own = np.random.default_rng(sum(name.encode())).normal(size=(64, dim))
    card = EncoderCard(
        role=role,
        space=space,
        dim=dim,
        architecture="fake",
        input=SPEC,
        params=64 * dim,
        macs=64 * dim,
        precision=precision,
        numbers=numbers or {},
    )
    # Fewer used dimensions make a weaker encoder.
    return FakeEncoder(name, card, (shared + noise * own) * (np.arange(dim) < used))


@pytest.fixture
def make_encoder():
    """An encoder; equal seeds share most of their matrix, as encoders of one space do."""
    return _encoder


@pytest.fixture
def gallery_encoder():
    return _encoder("gallery-encoder", role="gallery")


@pytest.fixture
def query_encoder():
    return _encoder("query-encoder", noise=0.3)


@pytest.fixture
def free_encoder():
    return _encoder("free-encoder", space=FREE_SPACE, role="free", seed=99, used=3)
