from __future__ import annotations

import itertools
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from hetsearch.errors import MissingExtra
from hetsearch.evaluation.report.drawing import Box, dots, drawing, place_labels, side_by_side


def test_boxes_measure_what_they_share() -> None:
    box = Box(0, 0, 4, 2)
    assert box.overlap(Box(3, 1, 9, 9)) == 1.0
    assert box.overlap(Box(4, 0, 5, 2)) == 0.0
    assert box.outside(Box(1, 0, 9, 9)) == 2.0


@pytest.mark.parametrize("seed", range(8))
def test_labels_do_not_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anchors = [(float(x), float(y)) for x, y in rng.uniform((120, 40), (300, 260), size=(7, 2))]
    obstacles = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in anchors]
    bounds = Box(0, 0, 420, 300)
    placed = place_labels(anchors, [(70.0, 20.0)] * 7, bounds, obstacles)
    assert all(a.overlap(b) == 0 for a, b in itertools.combinations(placed, 2))
    assert all(box.overlap(obstacle) == 0 for box in placed for obstacle in obstacles)
    assert all(box.outside(bounds) == 0 for box in placed)
    assert placed == place_labels(anchors, [(70.0, 20.0)] * 7, bounds, obstacles)


def test_a_label_without_a_free_place_is_placed_nevertheless() -> None:
    (box,) = place_labels([(5.0, 5.0)], [(100.0, 20.0)], Box(0, 0, 10, 10))
    assert box.right - box.left == 100.0


def test_points_at_one_place_are_set_side_by_side() -> None:
    points = np.array([[100.0, 1.0], [101.0, 2.0], [300.0, 3.0], [102.0, 4.0]])
    assert side_by_side(points, gap=10.0).tolist() == [[91.0, 1.0], [101.0, 2.0], [300.0, 3.0], [111.0, 4.0]]


def test_a_drawing_is_an_svg_for_a_page() -> None:
    with drawing(200, 100, 'a < b "title"') as (_, axes, result):
        axes.plot([0, 1], [0, 1])
        axes.set_xlabel("<script>$x$ 服 --> & more")
    root = ElementTree.fromstring(result[0])
    assert root.attrib["viewBox"] == "0 0 200 100"
    assert root.attrib["aria-label"] == 'a < b "title"'
    assert "<script>$x$ 服 --> & more" in [element.text for element in root.iter("text")]
    assert "var(--muted)" in result[0]
    assert "var(--sans)" in result[0]
    for foreign in ("http", "xlink", "<style", "<metadata", "<?xml", "#1d", "DejaVu"):
        assert foreign not in result[0]


def test_ids_of_two_drawings_differ() -> None:
    found = []
    for title in ("one", "two"):
        with drawing(200, 100, title) as (_, axes, result):
            axes.plot([0, 1], [0, 1])
        root = ElementTree.fromstring(result[0])
        found.append({element.attrib["id"] for element in root.iter() if "id" in element.attrib})
    assert found[0]
    assert not found[0] & found[1]


def test_the_users_matplotlib_settings_do_not_matter() -> None:
    import matplotlib

    def draw() -> str:
        with drawing(200, 100, "same") as (_, axes, result):
            axes.plot([0, 1], [0, 1])
        return result[0]

    plain = draw()
    with matplotlib.rc_context({"lines.linewidth": 9, "svg.fonttype": "path", "axes.facecolor": "red"}):
        assert draw() == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9


def test_each_dot_is_one_short_stroke() -> None:
    with drawing(200, 100, "dots") as (_, axes, result):
        dots(axes, np.random.default_rng(0).random((37, 2)), "#1d04e7")
    assert result[0].count("h0") == 37


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"'matplotlib' is not installed.*hetsearch\[report\]"), drawing(1, 1, ""):
        pass
