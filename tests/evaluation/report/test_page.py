from __future__ import annotations

import html
import itertools
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from hetsearch.errors import MissingExtra
from hetsearch.evaluation.report.page import plane_view, render_report
from hetsearch.evaluation.result import METRICS, Example, FlipRow, GateRow, PointsRow
from hetsearch.space import Embeddings
from tests.evaluation.made import CEILING, FIGURES, SPACE, F, G, Q, evaluation, matrix, thumbnail, vectors, verdict

VOID = {"meta", "img", "br", "line", "path", "rect", "circle", "use"}


class Page(HTMLParser):
    """The page as lists: tags with attributes, words, cells of each table by row."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.sections: dict[str, str] = {}
        self._section = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self._section = dict(attrs)["id"]
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words.append(data)
        if self._section:
            self.sections[self._section] = self.sections.get(self._section, "") + data
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


@pytest.fixture(scope="module")
def source() -> str:
    return render_report(evaluation(), thumbnail)


@pytest.fixture(scope="module")
def page(source: str) -> Page:
    return Page(source)


def test_every_tag_is_closed_and_headings_do_not_skip(page: Page) -> None:
    assert page.open == []
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert list(page.sections) == [
        "verdict", "matrix", "flips", "cost", "recall", "plane", "examples", "facts",
    ]  # fmt: skip
    assert page.named("html")[0] == {"lang": "en"}


def test_ids_are_unique_and_references_lead_somewhere(page: Page) -> None:
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    inner = [attrs["href"] for _, attrs in page.tags if "href" in attrs]
    inner += re.findall(r"url\((#[^)]+)\)", str(page.tags))
    assert inner
    assert {reference[1:] for reference in inner} <= set(ids)


def test_nothing_is_loaded_from_anywhere(source: str, page: Page) -> None:
    for _, attrs in page.tags:
        for name in ("src", "href", "xlink:href", "data", "srcset", "poster", "action"):
            if name in attrs:
                assert str(attrs[name]).startswith(("#", "data:image/png;base64,"))
        assert not any(name.startswith("on") for name in attrs)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    assert "@import" not in source
    assert "http:" not in source
    assert "https:" not in source
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", source))
    policy = [attrs["content"] for attrs in page.named("meta") if attrs.get("http-equiv")]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_two_renderings_are_the_same_bytes(source: str) -> None:
    assert render_report(evaluation(), thumbnail).encode() == source.encode()


def test_every_picture_has_words(page: Page) -> None:
    assert len(page.named("img")) == 12
    assert all(attrs["alt"] for attrs in page.named("img"))
    for attrs in page.named("svg"):
        assert attrs.get("aria-hidden") == "true" or attrs["aria-label"]
    titles = {attrs.get("aria-label") for attrs in page.named("svg")}
    assert {"mAP against the MACs of one query", "The gallery encoder's vectors", "Both, class means joined"} <= titles


def test_the_headline_and_the_verdict(page: Page) -> None:
    assert "Compatible by mAP, undecided by P@1; useful by mAP and by P@1" in page.text
    assert "mAP is 0.9361: 99.5 % of the 0.9409 that the gallery encoder reaches" in page.text
    rows = {row[0].strip(): [" ".join(cell.split()) for cell in row[1:]] for row in page.tables[0][1:]}
    assert list(rows) == ["mAP", "P@1", "R@10", "mAP@R"]
    found = verdict()
    assert rows["mAP"][0] == "✓ yesM(q, g) 0.9361M(q, q) 0.9227"
    assert rows["P@1"][0].startswith("? undecided")
    assert rows["P@1"][1] == "✓ yesM(q, g) 0.9413M(q*, q*) 0.9202"
    for name, metric in zip(("mAP", "P@1", "R@10", "mAP@R"), ("map", "p@1", "r@10", "map@r"), strict=True):
        assert rows[name][2].startswith(f"{found.retention[metric]:.4f}M(q, g) ")
        assert f"M(g, g) {CEILING[metric]:.4f}" in rows[name][2]
        assert "95 %: 0.9871 to 1.0042" in rows[name][2]
        assert rows[name][3].startswith(f"{found.gain[metric]:.4f}+")
    for words in ("110×", "206×", "45×", "56×", "0.38 ms against 21.4 ms", "nfr@1 0.0123", "pfr@1 0.0069"):
        assert words in page.sections["verdict"]


def test_the_matrix_is_the_evaluations(page: Page) -> None:
    table = page.tables[1]
    assert [cell.strip() for cell in table[0]] == ["query → gallery", "P@1", "R@10", "mAP", "mAP@R"]
    for row, cells in zip(matrix(), table[1:], strict=True):
        assert row.kind in cells[0]
        shown = [re.findall(r"\d\.\d{4}", cell) for cell in cells[1:]]
        assert shown == [
            [f"{row.metrics[metric]:.4f}", *(f"{end:.4f}" for end in row.intervals[metric])] for metric in METRICS
        ]
    assert [attrs["class"] for attrs in page.named("tr") if attrs.get("class")] == [kind for *_, kind in FIGURES]


def test_the_paired_differences_are_the_evaluations(page: Page) -> None:
    rows = [[" ".join(cell.split()) for cell in row] for row in page.tables[2][1:]]
    assert len(rows) == 8
    assert rows[0][:4] == ["compatible M(q, g) − M(q, q)", "mAP", "+0.0134", "+0.0104 to +0.0164"]
    assert rows[1][:4] == ["compatible M(q, g) − M(q, q)", "P@1", "+0.0022", "−0.0008 to +0.0052"]
    assert rows[4][:4] == ["useful M(q, g) − M(q*, q*)", "mAP", "+0.0446", "+0.0406 to +0.0486"]
    strips = [attrs["class"].split() for attrs in page.named("svg") if "interval" in str(attrs.get("class"))]
    assert [("open" in names) for names in strips] == [False, True, True, False, False, False, False, False]


def test_the_class_that_breaks_most_comes_first(page: Page) -> None:
    rows = [[" ".join(cell.split()) for cell in row] for row in page.tables[3][1:]]
    assert [row[0] for row in rows] == ["Shirt", "T-shirt/top", "Bag"]
    assert rows[0][:7] == ["Shirt", "1,000", "0.8100", "0.7700", "6.0 %", "2.0 %", "−0.0400"]
    bars = [attrs["aria-label"] for attrs in page.named("svg") if attrs.get("class") == "flip"]
    assert bars[0] == "6.0 % broken, 2.0 % mended"


def test_only_the_worst_classes_are_shown() -> None:
    flips = {f"class {i:02}": FlipRow(10, 0.5 - i / 100, 0.0, 1.0, 0.5 + i / 100) for i in range(20)}
    page = Page(render_report(evaluation(verdicts={Q: replace(verdict(), flips=flips)}), thumbnail))
    told = " ".join(page.sections["flips"].split())
    assert "class 11" in told
    assert "class 12" not in told
    assert "12 of 20 classes; all of them are in flips.csv" in told


def test_what_was_asked_for_besides() -> None:
    names = {"query": Q, "gallery": G}
    point = PointsRow(
        **names,
        counts={"same_class_pairs": 12_345, "other_pairs": 99},
        rates={"tar@1e-1": 0.9123, "tar@1e-2": None},
        reached={"tar@1e-1": 0.0909, "tar@1e-2": None},
        thresholds={"tar@1e-1": 0.4321, "tar@1e-2": None},
        reasons={"tar@1e-2": "99 pairs cannot show it"},
    )
    gates = (
        GateRow("nfr@1 > 0.02", Q, True, False, {"nfr@1": 0.0123}, {}, "nfr@1 <= 0.02"),
        GateRow("gain.map < <1", Q, False, None, {"gain.map": None}, {"gain.map": "no <room>"}, ""),
    )
    figures = {
        "retention.map": {"baseline": 0.99, "now": 0.98, "difference": -0.01},
        "compatible.map": {"baseline": None, "now": True, "difference": None},
        "gain.map": {"baseline": None, "now": None, "difference": None},
    }
    older = {"path": "old/report.json", "queries": {Q: {"compared_with": "older", "figures": figures, "reasons": {}}}}
    page = Page(render_report(evaluation(verification=(point,), open_set=(), gates=gates, baseline=older), thumbnail))
    assert page.open == []
    assert list(page.sections)[:5] == ["verdict", "release", "matrix", "flips", "points"]
    release, points = (" ".join(page.sections[name].split()) for name in ("release", "points"))
    assert "✓ yes" in release
    assert "nfr@1 0.0123" in release
    assert "gain.map undefined (no <room>)" in release
    assert "retention.map0.99000.9800−0.0100" in release.replace(" ", "")
    assert "compatible.map–yes–" in release.replace(" ", "")
    assert "gain.map–" not in release.replace(" ", "")
    assert "12,345 same class pairs, 99 other pairs" in points
    assert "0.9123above 0.4321" in points
    assert "99 pairs cannot show it" in page.sections["facts"]


def test_costs_settings_and_reasons(page: Page) -> None:
    facts = " ".join(page.sections["facts"].split())
    for words in (
        "23,498,432", "290,114,560", "24.1 MB", "21.4 ms", "int8-weights", SPACE, "113,965", "532 kB",
        "leave-one-out", "20261122", "test/00099: truncated", "Linux x86_64, 2 CPUs",
        "hetsearch evaluate --data fashion-mnist:test", "[-0.0008, +0.0052], holds 0",
    ):  # fmt: skip
        assert words in facts


def test_failures_are_first_and_marked_by_more_than_colour(page: Page) -> None:
    words = " ".join(page.sections["examples"].split())
    assert words.index("✗ Failure · a query of Shirt, and the first hit is Pullover") < words.index("✓ Right")
    assert "1 of the 2 queries shown fail, but 5.9 % of all" in words
    hits = [attrs["class"] for attrs in page.named("li") if "thumb" in str(attrs.get("class"))]
    assert hits == [f"thumb {told}" for told in ("wrong", "right", "right", "wrong", *["right"] * 6)]
    alts = [attrs["alt"] for attrs in page.named("img")]
    assert alts[:2] == ["query: Shirt, test/00042", "hit 1: Pullover, wrong, test/00050"]
    assert "0.810" in words


def test_what_users_write_is_escaped() -> None:
    evil = "<script>alert('x')</script>"
    whole = evaluation()
    hits = ((evil, evil, 0.5),)
    text = render_report(
        replace(
            whole,
            data=evil,
            labels=(evil,) * len(whole.labels),
            encoders={**whole.encoders, evil: whole.encoders[Q]},
            examples={Q: (Example(evil, f'"{evil}', hits),)},
            settings={evil: evil},
            verdicts={Q: replace(verdict(), reasons={evil: evil})},
            paragon={"source": evil, "metrics": CEILING},
        ),
        thumbnail,
    )
    assert "<script" not in text.lower()
    assert html.escape(evil).replace("&#x27;", "&#39;") in text
    parsed = Page(text)
    assert parsed.open == []
    assert evil in parsed.text


def test_without_a_free_encoder() -> None:
    whole = evaluation()
    text = render_report(
        replace(
            whole,
            encoders={name: row for name, row in whole.encoders.items() if name != F},
            matrix=matrix({pair: values for pair, values in FIGURES.items() if F not in pair}),
            verdicts={Q: verdict(free=False)},
        ),
        thumbnail,
    )
    page = Page(text)
    assert "Compatible by mAP, undecided by P@1; usefulness not tested" in page.text
    assert page.text.count("– not tested") == 4
    assert "No free encoder was given" in page.text
    assert len(page.tables[2]) == 5


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        (
            {"examples": {}, "settings": {}, "verdicts": {Q: replace(verdict(), reasons={}, differences={})}},
            ["keeps no examples.", "None were recorded.", "Nothing: every figure is defined", "no paired differences."],
        ),
        ({"labels": (), "recall": {}}, ["These images have no labels", "This evaluation keeps no recall curves."]),
        (
            {"embeddings": {}, "verdicts": {}},
            ["The evaluation names no query encoder", "keeps no vectors of the gallery and the query encoder."],
        ),
        (
            {"encoders": {}, "paragon": {}},
            ["No encoder's MACs are known", "This evaluation names no encoders.", "M(q, g) 0.9361M(g, g) 0.9402"],
        ),
    ],
)
def test_what_is_missing_leaves_a_sentence(changes, sentences) -> None:
    page = Page(render_report(evaluation(**changes), thumbnail))
    assert all(sentence in page.text for sentence in sentences)
    assert page.open == []


def test_an_empty_evaluation_still_gives_a_page() -> None:
    nothing = {name: {} for name in ("encoders", "verdicts", "paragon", "recall", "embeddings", "examples", "settings")}
    page = Page(render_report(evaluation(matrix=(), labels=(), **nothing), lambda key: None))
    assert "No query encoder was judged" in page.text
    assert len(page.sections) == 8
    assert "keeps no flips by class." in page.text


def test_latency_that_was_not_measured_and_pictures_that_cannot_be_read() -> None:
    whole = evaluation()
    bare = {name: replace(row, latency_ms=None, bytes=None) for name, row in whole.encoders.items()}
    page = Page(render_report(replace(whole, encoders=bare), lambda key: None))
    assert "not measured against not measured" in page.text
    assert f"{Q}: latency" in page.text
    assert page.named("img") == []
    assert page.text.count("no picture") == 12


def test_several_query_encoders() -> None:
    whole = evaluation()
    second = [replace(row, query="second", gallery=G if row.gallery == G else "second") for row in whole.matrix[1:3]]
    page = Page(
        render_report(
            replace(
                whole,
                encoders={**whole.encoders, "second": whole.encoders[Q]},
                matrix=(*whole.matrix[:3], *second, *whole.matrix[3:]),
                verdicts={Q: verdict(), "second": replace(verdict(), nfr_at_1=0.0777)},
            ),
            thumbnail,
        )
    )
    assert "nfr@1 0.0777" in page.sections["verdict"]
    assert "The paired differences behind the verdict of q₂" in " ".join(page.sections["matrix"].split())
    assert "M(q₂, g) − M(q₂, q₂)" in page.sections["matrix"]
    assert "Shown for query-encoder, the first query encoder." in page.text
    assert len(page.tables[2]) == 8  # a head and seven rows: the matrix comes after two verdicts


def test_vectors_that_do_not_fit_are_not_drawn() -> None:
    heavy, light, _ = vectors()
    whole = evaluation()
    keys = whole.embeddings[G].keys
    for wrong in (
        Embeddings(light, "sp_other", keys),
        Embeddings(light[:5], SPACE, keys[:5]),
        Embeddings(light[:, :3], SPACE, keys),
    ):
        view = plane_view(replace(whole, embeddings={**whole.embeddings, Q: wrong}), Q)
        assert view.plane is None
        assert "not of one space" in view.reason
    single = Embeddings(np.ones((1, 16), np.float32) / 4, SPACE, keys[:1])
    assert "at least two images" in plane_view(replace(whole, embeddings={G: single, Q: single}), Q).reason
    only = plane_view(replace(whole, embeddings={G: Embeddings(heavy, SPACE, keys)}), Q)
    assert only.reason == "This evaluation keeps no vectors of the query encoder."


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"'{module}' is not installed.*pip install 'hetsearch\[report\]'"):
        render_report(evaluation(), thumbnail)
