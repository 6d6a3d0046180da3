"""The page in a real browser: it embeds what the server would, sends no picture, and is for everybody."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hetsearch.gallery import open_gallery
from hetsearch.preprocess import InputSpec, preprocess
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.service.settings import Settings
from tests.service.browser import Browser
from tests.service.golden import GOLDEN
from tests.service.serving import Service, serving
from tests.support import SPACE

ZOO = Path(__file__).parents[2] / "zoo" / "fashion-mnist" / "query-encoder"
COLOUR = {"channels": 3, "mean": (0.5,) * 3, "std": (0.5,) * 3}
SPECS = (
    InputSpec(size=28, background=0),
    InputSpec(size=64, resample="bicubic", background=255, **COLOUR),
    InputSpec(size=48, fit="squash", background=90, **COLOUR),
)
ALIKE = 0.9999  # cosine of two vectors of one picture
# The pixels for each specification, and the vector of the first, as one text each: numbers one by one would be slow.
EMBED = """
const [content, specs] = given;
const { preprocess } = await import('/page/preprocess.js');
const { loadNetwork } = await import('/page/network.js');
window.network ??= (async () => {
  const [model] = (await (await fetch('/v1/models')).json()).data;
  return loadNetwork(model, new Uint8Array(await (await fetch(model.onnx)).arrayBuffer()));
})();
const text = (array) => btoa(Array.from(new Uint8Array(array.buffer), (byte) => String.fromCharCode(byte)).join(''));
const file = new Blob([Uint8Array.from(atob(content), (byte) => byte.charCodeAt(0))]);
const all = [];
for (const spec of specs) all.push((await preprocess(file, spec)).pixels);
const vector = await (await window.network).embed(all[0]);
return [text(vector), ...all.map(text)];
"""


@pytest.fixture(scope="module")
def released(browser: Browser) -> Iterator[OnnxEncoder]:
    """The released query encoder, and its page in the browser."""
    with serving(Settings(encoder=ZOO)) as service:
        browser.open(service.url, until="Ready")
        yield load_encoder(ZOO)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def searched(browser: Browser) -> np.ndarray:
    """The vector of the one search that the page has sent, and nothing else."""
    [(path, body)] = browser.sent()
    assert path == "/v1/search"
    document = json.loads(body)
    assert set(document) == {"vector", "space", "k"}
    assert document["space"] == SPACE
    return np.array(document["vector"])


# --- what it embeds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_pictures_have_the_same_pixels_and_vector(browser: Browser, released: OnnxEncoder, name: str) -> None:
    blob = GOLDEN[name]()
    specs = [spec.model_dump(mode="json") for spec in SPECS]
    vector, *pictures = map(base64.b64decode, browser.run(EMBED, base64.b64encode(blob).decode(), specs))
    for spec, picture in zip(SPECS, pictures, strict=True):
        expected = preprocess(blob, spec).ravel().astype(int)
        # Pillow resizes columns or lines first, as its version has it; of 16 bits the browser drops 8 without rounding.
        most = 2 if name.startswith("16-bit") else 1
        assert np.abs(np.frombuffer(picture, np.uint8) - expected).max() <= most, spec
    assert cosine(np.frombuffer(vector, "<f4"), released.encode(blob).vectors[0]) > ALIKE


def test_golden_pictures_are_told_apart(released: OnnxEncoder) -> None:
    vectors = released.encode([make() for make in GOLDEN.values()]).vectors
    pairs = (vectors @ vectors.T)[np.triu_indices(len(vectors), k=1)]
    assert np.mean(pairs > ALIKE) < 0.05  # some golden pictures are one picture in several formats


def test_a_dropped_picture_is_embedded_in_the_browser(
    browser: Browser, service: Service, encoder: OnnxEncoder, gallery: Path, pictures: list[Path]
) -> None:
    browser.complaints()
    browser.ready(service)
    assert "200 items" in browser.text("served")
    assert "Your picture stays on this device; only 16 numbers are sent." in browser.text("promise")
    browser.listen()
    browser.drop("shirt.png", pictures[2].read_bytes())
    browser.wait("status", "12 items, embedded in this browser")
    expected = encoder.encode(pictures[2])
    assert cosine(searched(browser), expected.vectors[0]) > 0.99999
    [hits] = open_gallery(gallery).search(expected, k=12)
    for hit, item in zip(hits, browser.text("found").split("\n")[1:][1::3], strict=True):
        assert item == f"{hit.score:.4f}"
    shown = browser.driver.execute_script("return [...document.images].filter((one) => one.naturalWidth).length")
    assert shown == 14  # the sign, the question, 12 hits
    assert browser.complaints() == []


def test_what_it_took_is_shown(browser: Browser, service: Service, pictures: list[Path]) -> None:
    browser.ready(service)
    browser.drop("shirt.png", pictures[2].read_bytes())
    browser.wait("status", "embedded in this browser")
    size = pictures[2].stat().st_size
    assert f"{size} B, 28 × 28 pixels, became 28 × 28: 784 B." in browser.text("prepare").replace("\xa0", " ")
    assert "16 numbers, made in this browser. Nothing was sent." in browser.text("embed")
    for words in ("vector", "hits", "12 pictures", "The server took"):
        assert words in browser.text("search")
    assert "ONNX Runtime 1.30.0, 3.7 MB" in browser.text("once").replace("\xa0", " ")
    for step in ("prepare", "embed", "search"):
        assert browser.driver.find_element("css selector", f"#{step} strong").text.endswith("ms")


def test_the_server_embeds_where_it_is_asked_to(browser: Browser, service: Service, pictures: list[Path]) -> None:
    browser.ready(service)
    browser.choose("server")
    browser.wait("promise", "Your picture is sent to the server")
    browser.listen()
    browser.drop("shirt.png", pictures[4].read_bytes())
    browser.wait("status", "12 items, embedded on the server")
    assert float(browser.text("cosine").split(": ")[1][:8]) > 0.9999
    assert [path for path, _ in browser.sent()] == ["/v1/embeddings", "/v1/search"]
    browser.choose("browser")
    browser.wait("status", "embedded in this browser")
    assert not browser.driver.find_element("id", "cosine").is_displayed()


def test_a_hit_is_searched_with(browser: Browser, service: Service) -> None:
    browser.ready(service)
    first = browser.driver.find_element("css selector", "#found button:enabled")
    key = first.find_element("class name", "key").text
    first.click()
    browser.wait("status", "12 items")
    assert browser.driver.find_element("css selector", "#found .key").text == key  # nothing is nearer than itself


# --- who uses it --------------------------------------------------------------------------------------------


def test_with_a_keyboard_and_a_screen_reader(browser: Browser, service: Service, pictures: list[Path]) -> None:
    browser.ready(service)
    browser.drop("shirt.png", pictures[0].read_bytes())
    browser.wait("status", "12 items")
    tree = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    named: dict[str, list[str]] = {}
    for node in tree:
        focusable = any(p["name"] == "focusable" and p["value"]["value"] for p in node.get("properties", []))
        if not node.get("ignored") and (focusable or node["role"]["value"] in ("image", "status", "group", "canvas")):
            named.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    for role in ("button", "radio", "link", "image", "group"):
        assert all(named[role]), (role, named[role])
    assert "Choose a picture" in " ".join(named["button"])
    assert "Embed the picture" in named["group"]
    assert len([name for name in named["button"] if name.endswith("search with this item")]) == 12
    assert {"What the network sees of the picture", "The numbers of the vector, as bars"} <= set(named["image"])
    assert "status" in named


def test_whoever_chose_an_item_goes_on_among_the_items(browser: Browser, service: Service) -> None:
    browser.ready(service)
    browser.driver.find_element("css selector", "#found button:enabled").send_keys("\n")
    browser.wait("status", "12 items")
    assert browser.driver.switch_to.active_element.get_attribute("id") == "found-title"


def test_the_api_by_example(browser: Browser, service: Service) -> None:
    browser.complaints()
    browser.driver.get(f"{service.url}/docs")
    browser.wait("paths", "POST /v1/embeddings")
    assert f"curl {service.url}/v1/search --json" in browser.text("paths")
    assert "``" not in browser.text("paths")
    assert browser.complaints() == []
    with browser.before_every_page("window.fetch = async () => new Response('', { status: 503 })"):
        browser.driver.get(f"{service.url}/docs")
        browser.wait("about", "The OpenAPI document cannot be read: refused with 503.")


def test_nothing_is_wider_than_the_page(browser: Browser, service: Service, pictures: list[Path]) -> None:
    browser.ready(service)
    browser.choose("server")
    browser.drop("a rather long name of a picture.png", pictures[0].read_bytes())
    browser.wait("status", "12 items")
    for width in (320, 390, 768, 1280):
        browser.resize(width, 844)
        page = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        needed, given = browser.driver.execute_script(page)
        assert needed == given <= width
