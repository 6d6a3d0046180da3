"""The released example is what its cards say, and works on real images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hetsearch.bundle import ONNX, read_card
from hetsearch.evaluation import evaluate_embeddings
from hetsearch.runtime import load_encoder
from hetsearch.space import EmbeddingSpace

ZOO = Path(__file__).parents[1] / "zoo" / "fashion-mnist"


def test_the_bundles_belong_to_the_space_but_for_the_free_encoder() -> None:
    space = EmbeddingSpace.load(ZOO)
    cards = {name: read_card(ZOO / f"{name}-encoder") for name in ("gallery", "query", "free")}
    assert {name: card.role for name, card in cards.items()} == {name: name for name in cards}
    assert cards["gallery"].space == cards["query"].space == space.id
    assert cards["free"].space != space.id
    assert cards["gallery"].precision == "int8-weights"
    assert cards["gallery"].parity["smallest_cosine"] > 0.98


def test_the_query_costs_what_is_promised() -> None:
    heavy, light = read_card(ZOO / "gallery-encoder"), read_card(ZOO / "query-encoder")
    assert heavy.macs >= 80 * light.macs
    assert heavy.params >= 200 * light.params
    assert (ZOO / "query-encoder" / ONNX).stat().st_size < 1_000_000
    assert (ZOO / "gallery-encoder" / ONNX).stat().st_size < 30_000_000


def test_the_recorded_numbers_say_compatible_and_useful() -> None:
    paragon = read_card(ZOO / "gallery-encoder").numbers["paragon"]
    assert paragon["precision"] == "float32"
    assert paragon["n_queries"] == 10_000
    verdict = read_card(ZOO / "query-encoder").numbers["compatibility"]["verdict"]
    assert verdict["compatible"]["map"] is True
    assert verdict["useful"]["map"] is True


def test_heterogeneous_search_beats_the_tiny_network_alone(fashion_test: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = fashion_test[0][:, None], fashion_test[1]
    keys = np.arange(len(labels))
    g, q = (load_encoder(ZOO / f"{name}-encoder").encode_pixels(pixels) for name in ("gallery", "query"))

    def mean_average_precision(query: np.ndarray, gallery: np.ndarray) -> float:
        return float(evaluate_embeddings(query, gallery, labels, labels, keys, keys)["map"])

    assert mean_average_precision(q, g) > mean_average_precision(q, q)


def test_no_file_of_the_example_names_a_machine() -> None:
    for path in ZOO.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"site-packages" not in content, path
            if path.suffix in (".json", ".md"):  # no absolute path at all
                assert re.search(rb"(^|[\s\"'=])/\w+/", content) is None, path


@pytest.mark.parametrize("name", ["gallery", "query", "free"])
def test_each_card_names_the_command_that_made_it(name: str) -> None:
    card = read_card(ZOO / f"{name}-encoder")
    assert card.training["command"].startswith("hetsearch train ")
    assert "configs/fashion-mnist/" in card.training["command"]
    assert f"`{card.space}`" in (ZOO / f"{name}-encoder" / "README.md").read_text()
