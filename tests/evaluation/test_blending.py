"""The share of a blend against a search by hand over the encoders' own vectors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.errors import DataError, GateNotMet, SpaceMismatch
from hetsearch.evaluation.blending import SHARES, Choice, choose_share, require_better
from hetsearch.evaluation.result import METRICS
from hetsearch.files import dump_json
from hetsearch.metrics import difference_interval
from hetsearch.runtime import load_encoder

ZOO = Path(__file__).parents[2] / "zoo" / "fashion-mnist"
FOUND = Choice(
    share=0.6, data="some", n_queries=40, difference=0.1, ci=(0.05, 0.15),
    scores={0.0: dict.fromkeys(METRICS, 0.5), 0.6: dict.fromkeys(METRICS, 0.6)},
)  # fmt: skip


def average_precisions(query: np.ndarray, items: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of every image as a query among the others, one at a time; the images stand in the order of their keys."""
    found = []
    for row, vector in enumerate(query.astype(np.float64)):
        scores = {other: round(float(vector @ items[other]), 9) for other in range(len(items)) if other != row}
        ranked = sorted(scores, key=lambda other: (-scores[other], other))
        hits, precisions = 0, []
        for rank, other in enumerate(ranked, 1):
            if labels[other] == labels[row]:
                hits += 1
                precisions.append(hits / rank)
        found.append(np.mean(precisions))
    return np.array(found)


def by_hand(g: np.ndarray, q: np.ndarray, labels: np.ndarray) -> dict[float, np.ndarray]:
    """Average precisions of M(q, b) by share, from nothing but NumPy."""
    found = {}
    for share in (0.0, *SHARES):
        rows = (1 - share) * g.astype(np.float64) + share * q.astype(np.float64)
        found[share] = average_precisions(q, rows / np.linalg.norm(rows, axis=1, keepdims=True), labels)
    return found


def require_same(choice: Choice, expected: dict[float, np.ndarray]) -> None:
    means = {share: float(values.mean()) for share, values in expected.items()}
    assert {share: row["map"] for share, row in choice.scores.items()} == pytest.approx(means, abs=1e-6)
    assert means[choice.share] == pytest.approx(max(means[share] for share in SHARES), abs=1e-6)
    assert choice.difference == pytest.approx(means[choice.share] - means[0.0], abs=1e-6)
    assert choice.ci == pytest.approx(difference_interval(expected[choice.share], expected[0.0]), abs=1e-6)


def test_the_released_pair_on_real_pictures(fashion_test: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, labels = fashion_test[0][::8], fashion_test[1][::8]
    keys = tuple(f"{row:03}" for row in range(len(pixels)))
    images = ImageSet("slice", keys, ArrayReader(pixels), tuple(map(str, labels)))
    g, q = load_encoder(ZOO / "gallery-encoder"), load_encoder(ZOO / "query-encoder")
    choice = choose_share(g, q, images, progress=False)
    require_same(choice, by_hand(g.encode_pixels(pixels[:, None]), q.encode_pixels(pixels[:, None]), labels))
    assert (choice.data, choice.n_queries, choice.failures) == ("slice", len(pixels), ())
    assert set(choice.scores[0.5]) == set(METRICS)


def test_a_blend_helps_where_the_query_encoder_errs_alike_on_both_sides(make_encoder, make_images):
    gallery, query = make_encoder("g", role="gallery", used=6), make_encoder("q", noise=1.0)
    images = make_images(90, classes=9)
    choice = choose_share(gallery, query, images, progress=False)
    assert (gallery.seen, query.seen) == (90, 90)  # each image once by either encoder
    pixels = np.stack([images.read(row) for row in range(90)])[:, None]
    expected = by_hand(gallery.encode_pixels(pixels), query.encode_pixels(pixels), np.array(images.labels))
    require_same(choice, expected)
    assert choice.better
    require_better(choice)


def test_equal_shares_give_the_smallest_which_is_not_better(make_encoder, make_images):
    choice = choose_share(make_encoder("g", role="gallery"), make_encoder("q"), make_images(), progress=False)
    assert (choice.share, choice.difference, choice.ci, choice.better) == (0.1, 0.0, (0.0, 0.0), False)
    with pytest.raises(GateNotMet, match=r"observed mAP of M\(q,b\).* \[\+0\.00000, \+0\.00000\], 60 queries.*--share"):
        require_better(choice)


def test_queries_against_a_gallery(make_encoder, make_images):
    roles = ("query",) * 20 + ("gallery",) * 40
    choice = choose_share(
        make_encoder("g", role="gallery"), make_encoder("q", noise=0.5), make_images(roles=roles), progress=False
    )
    assert choice.n_queries == 20


@pytest.mark.parametrize(
    ("changes", "better"),
    [({}, True), ({"ci": (0.0, 0.2)}, False), ({"ci": (-0.1, 0.2)}, False), ({"n_queries": 9}, False)],
)
def test_the_rule_by_which_a_blend_is_kept(changes: dict, better: bool) -> None:
    choice = replace(FOUND, **changes)
    assert choice.better is better
    if not better:
        with pytest.raises(GateNotMet, match=r"0\.6000 with share 0\.6 against M\(q,g\) 0\.5000.*Keep the gallery"):
            require_better(choice)


def test_what_a_card_says_of_it() -> None:
    told = json.loads(dump_json(FOUND.as_dict()))
    assert told["scores"]["0.6"]["map"] == 0.6
    assert told["difference"] == {"metric": "map", "difference": 0.1, "ci": [0.05, 0.15]}


def test_images_that_cannot_be_read_are_left_out(make_encoder, make_images):
    pair = (make_encoder("g", role="gallery"), make_encoder("q", noise=0.5))
    choice = choose_share(*pair, make_images(broken=(2, 9)), progress=False)
    assert (choice.n_queries, [failure.key for failure in choice.failures]) == (58, ["image 002", "image 009"])


def test_what_cannot_be_measured(make_encoder, make_images):
    gallery, query = make_encoder("g", role="gallery"), make_encoder("q")
    with pytest.raises(SpaceMismatch, match="different spaces"):
        choose_share(gallery, make_encoder("q", space="sp_other"), make_images(), progress=False)
    with pytest.raises(DataError, match="no query of 'fake:test' has a relevant item"):
        choose_share(gallery, query, make_images(4), progress=False)
    with pytest.raises(DataError, match="no labels"):
        choose_share(gallery, query, replace(make_images(), labels=None), progress=False)
    assert gallery.seen == 0  # told before the images are embedded
    opposite = replace(query, matrix=-gallery.matrix)
    with pytest.raises(DataError, match=r"are opposite.*with share 0\.5"):
        choose_share(gallery, opposite, make_images(), progress=False)
