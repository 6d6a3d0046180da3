from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from hetsearch.evaluation.report.plots import cost_pictures, human, recall_pictures, swatch
from tests.evaluation.made import FIGURES, F, G, Q, curve, evaluation, matrix

SYMBOLS = {G: "g", Q: "q", F: "q*"}


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (113_965, "114 k"), (999_600, "1 M"), (2_631_680, "2.63 M"),
     (290_114_560, "290 M"), (4.1e9, "4.1 G"), (2e12, "2 T")],
)  # fmt: skip
def test_counts_in_three_figures(value: float, shown: str) -> None:
    assert human(value) == shown


def test_accuracy_against_cost_shows_the_matrix_without_the_control() -> None:
    pictures = cost_pictures(evaluation(), SYMBOLS)
    assert [picture.title for picture in pictures] == [
        "mAP against the MACs of one query", "P@1 against the MACs of one query",
    ]  # fmt: skip
    for picture, column in zip(pictures, (2, 0), strict=True):
        found = texts(picture.svg)
        for (query, gallery, kind), values in FIGURES.items():
            label = f"{SYMBOLS[query]} → {SYMBOLS[gallery]}  {values[column]:.4f}"
            assert (label in found) == (kind != "control")
            assert (kind in found) == (kind != "control")
        assert "10 M" in found


def test_pictures_are_the_same_bytes_each_time() -> None:
    assert cost_pictures(evaluation(), SYMBOLS) == cost_pictures(evaluation(), SYMBOLS)
    assert recall_pictures(evaluation()) == recall_pictures(evaluation())


def test_encoders_of_unknown_cost_cannot_be_placed() -> None:
    whole = evaluation()
    unknown = {name: replace(row, macs=0) for name, row in whole.encoders.items()}
    assert cost_pictures(replace(whole, encoders=unknown), SYMBOLS) == ()
    only = {**unknown, Q: whole.encoders[Q]}
    found = texts(cost_pictures(replace(whole, encoders=only), SYMBOLS)[0].svg)
    assert "heterogeneous" in found
    assert "paragon" not in found


def test_recall_is_drawn_close_by_and_whole() -> None:
    close, whole = recall_pictures(evaluation())
    assert "without the control" in close.title
    assert {"1", "2", "5", "10", "20", "50", "100"} <= set(texts(close.svg))
    assert {"0.0", "1.0"} <= set(texts(whole.svg))
    assert "0.0" not in texts(close.svg)
    # A line a row of the matrix, in the colour of its query encoder.
    assert [close.svg.count(f"stroke: var(--{role})") for role in ("gallery", "query", "free")] == [1, 2, 1]
    assert [whole.svg.count(f"stroke: var(--{role})") for role in ("gallery", "query", "free")] == [1, 2, 2]


def test_recall_without_control_without_curves_and_with_one_item() -> None:
    figures = {pair: values for pair, values in FIGURES.items() if pair[2] != "control"}
    assert len(recall_pictures(evaluation(matrix=matrix(figures)))) == 1
    assert recall_pictures(evaluation(recall={})) == ()
    assert recall_pictures(evaluation(recall={(Q, G): np.empty(0)})) == ()
    (single,) = recall_pictures(evaluation(recall={(Q, G): np.ones(1)}))
    assert "R@k" in texts(single.svg)


def test_a_long_curve_ends_at_100() -> None:
    short = recall_pictures(evaluation(recall={(Q, G): curve(0.9)}))
    long = recall_pictures(evaluation(recall={(Q, G): np.append(curve(0.9), np.ones(400))}))
    assert short == long


def test_a_second_query_encoder_is_fainter() -> None:
    whole = evaluation()
    two = replace(whole, encoders={**whole.encoders, "second": whole.encoders[Q]})
    row = replace(whole.matrix[2], query="second")
    assert 'opacity="1"' in swatch(two, whole.matrix[2])
    assert 'opacity="0.6"' in swatch(two, row)
    assert "var(--query)" in swatch(two, row)
    assert "stroke-dasharray" in swatch(two, whole.matrix[1])
