"""The page in a real browser where something is wrong: it says what, and sends nothing that nobody asked it to send."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hetsearch.data.images import ImageSet
from hetsearch.gallery import build_gallery
from hetsearch.runtime import OnnxEncoder
from hetsearch.service.settings import Settings
from tests.service.browser import Browser
from tests.service.golden import encoded, scene
from tests.service.serving import Service, serving

KEY = "s3cret-key"
# Addresses of files that the page has made and not given back, and how many it ever made.
COUNT = """
window.addresses = new Set();
window.made = 0;
const { createObjectURL, revokeObjectURL } = URL;
URL.createObjectURL = (file) => {
  const address = createObjectURL.call(URL, file);
  window.addresses.add(address);
  window.made++;
  return address;
};
URL.revokeObjectURL = (address) => {
  window.addresses.delete(address);
  revokeObjectURL.call(URL, address);
};
"""
# What a browser does that hides what it draws with.
NOISE = """
const read = CanvasRenderingContext2D.prototype.getImageData;
CanvasRenderingContext2D.prototype.getImageData = function (...given) {
  const image = read.apply(this, given);
  image.data.forEach((_, place) => (image.data[place] = (place * 7919) % 256));
  return image;
};
"""
ONCE_AWAY = """
const fetched = window.fetch;
window.fetch = (path, given) => {
  if (!String(path).endsWith('.onnx')) return fetched(path, given);
  window.fetch = fetched;
  return Promise.reject(new TypeError('Failed to fetch'));
};
"""


def test_without_webassembly_nothing_is_sent_until_the_user_says_so(
    browser: Browser, service: Service, pictures: list[Path]
) -> None:
    with browser.before_every_page("delete window.WebAssembly"):
        browser.ready(service, "Nothing is sent until you choose")
        assert "This browser has no WebAssembly, so it cannot embed. The server can" in browser.text("notice")
        browser.listen()
        browser.drop("shirt.png", pictures[4].read_bytes())
        browser.wait("notice", "no WebAssembly")
        assert browser.sent() == []
        browser.choose("server")
        browser.wait("status", "12 items, embedded on the server")
        assert browser.text("notice") == ""


def test_a_picture_that_the_browser_cannot_read(browser: Browser, service: Service) -> None:
    browser.ready(service)
    browser.listen()
    browser.drop("shirt.tif", encoded(scene(40, 40), "TIFF"))
    browser.wait("notice", "This browser cannot read the picture.")
    assert browser.text("status") == "Nothing was sent."
    assert browser.sent() == []
    browser.choose("server")
    browser.wait("status", "12 items, embedded on the server")
    assert "the vectors cannot be compared" in browser.text("notice")


def test_what_the_server_refuses(browser: Browser, service: Service) -> None:
    browser.ready(service)
    browser.choose("server")
    browser.drop("large.png", encoded(Image.new("L", (800, 800))))
    browser.wait("notice", "A picture is too large: observed 800 × 800 pixels, expected at most 250,000")
    assert browser.text("status") == ""


def test_a_service_that_has_gone(browser: Browser, settings: Settings, pictures: list[Path]) -> None:
    with serving(settings) as service:
        browser.ready(service)
    browser.drop("shirt.png", pictures[0].read_bytes())
    browser.wait("notice", "The service does not answer. Is it still running?")


def test_a_service_without_a_gallery(browser: Browser, bundle: Path, pictures: list[Path]) -> None:
    with serving(Settings(encoder=bundle)) as service:
        browser.open(service.url, until="Ready")
        assert "No gallery" in browser.text("served")
        browser.drop("shirt.png", pictures[0].read_bytes())
        browser.wait("status", "Embedded in this browser. This service has no gallery to search.")


def test_the_key_is_asked_for(browser: Browser, settings: Settings, pictures: list[Path]) -> None:
    with serving(settings, KEY) as service:
        browser.driver.get(service.url)
        browser.wait("unlock", "This service asks for a key")
        field = browser.driver.find_element("id", "key")
        assert browser.driver.switch_to.active_element == field
        field.send_keys("another\n")
        browser.wait("notice", "The API key is missing or wrong")
        field.clear()
        field.send_keys(f"{KEY}\n")
        browser.wait("status", "Ready")
        assert browser.text("notice") == ""
        browser.drop("shirt.png", pictures[0].read_bytes())
        browser.wait("status", "12 items")
        shown = browser.driver.execute_script("return document.querySelectorAll('#found img').length")
        assert shown == 12
        kept = "return [document.cookie, localStorage.length + sessionStorage.length, arguments[0].value]"
        assert browser.driver.execute_script(kept, field) == ["", 0, ""]


def test_after_one_that_was_read_too(browser: Browser, service: Service, pictures: list[Path]) -> None:
    with browser.before_every_page(COUNT):
        browser.ready(service)
        browser.drop("shirt.png", pictures[0].read_bytes())
        browser.wait("status", "12 items")
        browser.drop("shirt.tif", encoded(scene(40, 40), "TIFF"))
        browser.wait("notice", "This browser cannot read the picture.")
        browser.wait("invitation", "Drop a picture here")
        for id_ in ("picture", "found", "steps"):
            assert not browser.driver.find_element("id", id_).is_displayed(), id_
        assert browser.driver.execute_script("return [window.addresses.size, window.made]") == [0, 26]


def test_a_picture_wider_than_a_canvas(browser: Browser, service: Service) -> None:
    browser.ready(service)
    browser.drop("wide.png", encoded(Image.new("L", (70_000, 2))))
    browser.wait("notice", "This browser cannot read a picture of 70000 × 2 pixels.")


def test_nothing_dropped(browser: Browser, service: Service) -> None:
    browser.ready(service)
    browser.driver.execute_script(
        "document.dispatchEvent(new DragEvent('drop', { cancelable: true, dataTransfer: new DataTransfer() }))"
    )
    assert browser.text("notice").startswith("That brought no file.")


@pytest.mark.parametrize(
    ("script", "notice"),
    [
        (
            "WebAssembly.instantiate = WebAssembly.instantiateStreaming = () => Promise.reject(new Error('no memory'))",
            r"This browser does not run the network \(.*\), so it cannot embed. The server can",
        ),
        (NOISE, "This browser changes the pixels that a page reads, so it cannot embed. The server can"),
    ],
)
def test_a_browser_that_cannot_embed(
    browser: Browser, service: Service, pictures: list[Path], script: str, notice: str
) -> None:
    with browser.before_every_page(script):
        browser.ready(service, "Nothing is sent until you choose")
        assert re.match(notice, browser.text("notice"))
        browser.listen()
        browser.drop("shirt.png", pictures[4].read_bytes())
        browser.wait("notice", "so it cannot embed")
        assert browser.sent() == []
        browser.choose("server")
        browser.wait("status", "12 items, embedded on the server")
        assert browser.text("promise") == "Your picture is sent to the server."


def test_a_network_that_comes_at_the_second_time(browser: Browser, service: Service, pictures: list[Path]) -> None:
    with browser.before_every_page(ONCE_AWAY):
        browser.driver.get(service.url)
        browser.wait("notice", "The service does not answer. Is it still running?")
        browser.drop("shirt.png", pictures[0].read_bytes())
        browser.wait("status", "12 items, embedded in this browser")
        assert browser.text("notice") == ""


@pytest.mark.parametrize(
    ("answer", "notice"),
    [
        ("new Response('<html>Log in', { status: 200 })", "Something else than the service has answered"),
        ("new Response('<html>Bad Gateway', { status: 502 })", "Refused with 502"),
        ("new Response('null', { status: 500 })", "Refused with 500"),
    ],
)
def test_a_proxy_that_answers_instead(
    browser: Browser, service: Service, pictures: list[Path], answer: str, notice: str
) -> None:
    browser.ready(service)
    browser.driver.execute_script(f"window.fetch = async () => {answer}")
    browser.drop("shirt.png", pictures[0].read_bytes())
    browser.wait("notice", notice)
    assert browser.text("status") == ""


def test_items_are_shown_as_text_and_without_pictures(
    browser: Browser, bundle: Path, encoder: OnnxEncoder, tmp_path: Path, pictures: list[Path]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    keys, labels = ("\"><script>wrong()</script>", "b/<b>2", "c"), ("<img src=x onerror=wrong()>", "&lt;", "")
    build_gallery(encoder, ImageSet("odd", keys, pixels.__getitem__, labels), tmp_path / "odd", progress=False)
    with serving(Settings(encoder=bundle, gallery=str(tmp_path / "odd"))) as service:
        browser.complaints()
        browser.open(service.url, until="Ready")
        browser.drop("<i>shirt</i>.png", pictures[0].read_bytes())
        browser.wait("status", "3 items")
        lines = browser.text("found").split("\n")
        scores = [line for line in lines if line.startswith(("0.", "-0."))]
        assert sorted(set(lines) - set(scores)) == sorted(["Nearest items", *keys, *labels[:2]])
        assert len(lines) == 1 + 3 + 3 + 2  # an item without a label is its key, once
        assert browser.driver.execute_script("return document.querySelectorAll('#found b, #found img').length") == 0
        assert not browser.driver.find_element("css selector", "#found button").is_enabled()
        assert browser.complaints() == []
