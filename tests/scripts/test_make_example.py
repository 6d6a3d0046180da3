"""What the script of the released example counts, on encoders whose mistakes are known."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hetsearch.evaluation.result import EncoderRow
from hetsearch.space import Embeddings, EmbeddingSpace
from tests.evaluation.made import evaluation


@pytest.fixture
def make_example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import make_example

    return make_example


@pytest.fixture
def example_words(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import example_words

    return example_words


def at(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_mistakes_are_told_apart(make_example: ModuleType, example_words: ModuleType) -> None:
    # Class a lies at 0 degrees, b at 90; the border between them is at 45.
    space = EmbeddingSpace("sp_0", 2, "", ("a", "b"), at(0, 90), 16.0)
    keys, labels = tuple("12345"), ("a", "a", "b", "b", "a")
    heavy = at(0, 10, 90, 80, 70)  # g mistakes image 5
    light = at(2, 50, 88, 71, 3)  # q mistakes image 2
    rows = {"g": EncoderRow("gallery", "sp_0", 2, 2, 9, 1.0), "q": EncoderRow("query", "sp_0", 1, 1, 3, 0.1)}
    found = make_example.mistakes_of(
        evaluation(
            encoders=rows,
            embeddings={"g": Embeddings(heavy, "sp_0", keys), "q": Embeddings(light, "sp_0", keys)},
            labels=labels,
        ),
        space,
    )
    assert found["class by W"]["metrics"] == pytest.approx({"g": 0.8, "q": 0.8})
    # First neighbours: 1 → 2 right; 2 → 5 (70 degrees) right by its label; 3 → 4 right; 4 → 5 wrong; 5 → 1 right.
    assert found["wrong first neighbours"]["metrics"] == {"query mistaken by q": 0.0, "item mistaken by g": 1.0}
    assert found["class by W"]["ci"]["q"][0] <= 0.8 <= found["class by W"]["ci"]["q"][1]
    words = example_words._mistakes_in_words([found, found])
    assert "q names the class of 0.8000 of the images and g of 0.8000" in words
    assert "0.0000 have a query that q mistakes, and 1.0000 an item that g mistakes" in words
