"""A headless Chromium on the page of a service."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.service.serving import WAIT, Service

NEEDS = "needs Chromium and its driver: apt-get install chromium chromium-driver"

# What a hand would do with the mouse.
DROP = """
const [name, content, done] = arguments;
const files = new DataTransfer();
files.items.add(new File([Uint8Array.from(atob(content), (byte) => byte.charCodeAt(0))], name));
const target = document.getElementById('drop');
for (const kind of ['dragover', 'drop']) {
  target.dispatchEvent(new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: files }));
}
done();
"""
# What the page sends from now on, by path.
LISTEN = """
window.sent = [];
const fetched = window.fetch;
window.fetch = (path, given = {}) => {
  window.sent.push([String(path), typeof given.body === 'string' ? given.body : given.body?.byteLength ?? null]);
  return fetched(path, given);
};
"""


class Browser:
    """What the tests do with the page."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str, *, until: str) -> None:
        """Load a page, and wait for a word of its status."""
        self.driver.get("about:blank")
        self.driver.get(url)
        self.wait("status", until)

    def ready(self, service: Service, status: str = "Ready") -> None:
        """Open the page of a gallery, and wait until it has asked for everything that it asks for by itself."""
        self.open(service.url, until=status)
        self.wait("found", "Some of the gallery")

    def text(self, id_: str) -> str:
        return self.driver.find_element("id", id_).text

    def wait(self, id_: str, text: str) -> None:
        """Until an element says something."""
        from selenium.webdriver.support.ui import WebDriverWait

        seen = WebDriverWait(self.driver, WAIT, poll_frequency=0.05)
        seen.until(lambda _: text in self.text(id_), f"#{id_} never said '{text}'")

    def drop(self, name: str, content: bytes) -> None:
        self.driver.execute_async_script(DROP, name, base64.b64encode(content).decode())

    def choose(self, place: str) -> None:
        """Where the picture is embedded."""
        self.driver.execute_script("document.querySelector(`input[value=${arguments[0]}]`).click()", place)

    def listen(self) -> None:
        self.driver.execute_script(LISTEN)

    def sent(self) -> list[list[Any]]:
        """Path and body of what the page has sent since it was listened to, but for asking for pictures."""
        sent = self.driver.execute_script("return window.sent")
        return [[path, body] for path, body in sent if not path.startswith("/v1/items/")]

    def run(self, script: str, *arguments: object) -> Any:
        """What a script of an asynchronous function's body returns."""
        failed = "(error) => done({ failed: String(error) })"
        whole = f"const done = arguments[arguments.length - 1]; (async (...given) => {{ {script} }})"
        answer = self.driver.execute_async_script(f"{whole}(...arguments).then(done, {failed});", *arguments)
        assert not isinstance(answer, dict) or "failed" not in answer, answer
        return answer

    def complaints(self) -> list[str]:
        """What the browser wrote into its console since it was asked last: errors, and what its policy forbids."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    @contextmanager
    def before_every_page(self, script: str) -> Iterator[None]:
        """Run a script before any page's own."""
        command = "Page.addScriptToEvaluateOnNewDocument"
        added = self.driver.execute_cdp_cmd(command, {"source": script})
        yield
        self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start it; the test is skipped where there is none, which CI counts as a failure."""
    try:
        from selenium import webdriver
    except ImportError:
        pytest.skip("needs selenium: pip install 'hetsearch[dev]'")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    program, tool = next(filter(None, found), None), shutil.which("chromedriver")
    if program is None or tool is None:
        pytest.skip(NEEDS)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    # In a container there is no sandbox to be had, and /dev/shm is small.
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(tool))
    driver.set_script_timeout(WAIT)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
