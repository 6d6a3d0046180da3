"""Files for browsers are what their sums say, of the right type, and not sent twice."""

from __future__ import annotations

import gzip
import hashlib
import json
import re

import httpx
import pytest

from hetsearch.service.assets import PAGE, RUNTIME, page_assets
from hetsearch.service.settings import Settings
from tests.service.serving import Service, problem, serving

INDEX = json.loads((RUNTIME / "index.json").read_text())
BASE = f"/page/onnxruntime-web/{INDEX['version']}"
WASM = "ort-wasm-simd-threaded.wasm"


@pytest.mark.parametrize("name", INDEX["files"])
def test_the_runtime_in_the_package_is_what_was_recorded(name: str) -> None:
    record, small = INDEX["files"][name], (RUNTIME / f"{name}.gz").read_bytes()
    assert (len(small), hashlib.sha256(small).hexdigest()) == (record["gzip_bytes"], record["gzip_sha256"])
    content = gzip.decompress(small)
    assert (len(content), hashlib.sha256(content).hexdigest()) == (record["bytes"], record["sha256"])


def test_the_licence_lies_beside_it(service: Service) -> None:
    assert INDEX["license"] == "MIT"
    answer = service.http.get(f"{BASE}/LICENSE")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "MIT License" in answer.text
    assert "Microsoft Corporation" in answer.text
    assert len(service.http.get(f"{BASE}/ThirdPartyNotices.txt").text) > 100_000


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ort.wasm.min.mjs", "text/javascript; charset=utf-8"),
        ("ort-wasm-simd-threaded.mjs", "text/javascript; charset=utf-8"),
        (WASM, "application/wasm"),
    ],
)
def test_the_runtime_is_sent_as_it_lies_and_kept_for_ever(service: Service, name: str, kind: str) -> None:
    with service.http.stream("GET", f"{BASE}/{name}", headers={"accept-encoding": "br, gzip;q=0.5"}) as answer:
        sent = b"".join(answer.iter_raw())
    headers = answer.headers
    assert sent == (RUNTIME / f"{name}.gz").read_bytes()
    assert (headers["content-type"], headers["content-encoding"]) == (kind, "gzip")
    assert (headers["cache-control"], headers["vary"]) == ("public, max-age=31536000, immutable", "Accept-Encoding")
    again = service.http.get(f"{BASE}/{name}", headers={"if-none-match": f'"other", {headers["etag"]}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", headers["etag"])


@pytest.mark.parametrize("accepted", ["identity", "", "gzip;q=0", "br", "gzip; q=0.0, *;q=1"])
def test_the_runtime_is_unpacked_for_who_does_not_take_gzip(service: Service, accepted: str) -> None:
    name = "ort.wasm.min.mjs"
    answer = service.http.get(f"{BASE}/{name}", headers={"accept-encoding": accepted})
    assert "content-encoding" not in answer.headers
    assert hashlib.sha256(answer.content).hexdigest() == INDEX["files"][name]["sha256"]


def test_another_version_is_not_there(service: Service) -> None:
    for path in (f"/page/onnxruntime-web/1.0.0/{WASM}", f"{BASE}/ort.js", f"{BASE}/index.json", f"{BASE}/LICENSE.gz"):
        assert problem(service.http.get(path)) == (404, "not_found")
    assert service.http.get("/page/onnxruntime-web/index.json").json() == INDEX


@pytest.mark.parametrize("path", ["/", "/docs", *(f"/page/{name}" for name in page_assets())])
def test_the_page_is_asked_for_again_and_sent_when_it_is_new(service: Service, path: str) -> None:
    answer = service.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    for known, status in ((answer.headers["etag"], 304), ('"another"', 200)):
        assert service.http.get(path, headers={"if-none-match": known}).status_code == status


def test_whatever_the_page_loads_is_there(service: Service) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in PAGE.iterdir()}
    paths = {found for text in texts.values() for found in re.findall(r'"(/page/[\w./-]+\.\w+)"', text)}
    assert {"/page/page.js", "/page/preprocess.js", "/page/network.js", "/page/search.css"} <= paths
    for path in paths:
        assert service.http.get(path).status_code == 200, path
    for name, text in texts.items():
        names = {"http://www.w3.org", "http://ns.adobe.com"}  # of SVG and of XMP; nobody asks there
        elsewhere = set(re.findall(r"\w+://[\w.-]+", text)) - names
        assert not elsewhere, name
        assert "innerHTML" not in text, name


def test_the_policy_allows_nothing_from_elsewhere(service: Service) -> None:
    rules = service.http.get("/").headers["content-security-policy"].split("; ")
    assert "default-src 'self'" in rules
    assert "script-src 'self' 'wasm-unsafe-eval'" in rules
    sources = {source for rule in rules for source in rule.split()[1:]}
    assert sources == {"'self'", "'wasm-unsafe-eval'", "'none'", "blob:", "data:"}


def test_the_page_is_open_and_the_network_is_not(settings: Settings) -> None:
    with serving(settings, "s3cret-key") as service:
        for path in ("/", "/docs", "/page/page.js", "/page/onnxruntime-web/index.json", f"{BASE}/LICENSE"):
            assert service.http.get(path).status_code == 200, path
        for path in ("/v1/models", "/v1/models/tiny/model.onnx", "/v1/items/class-0%2F000.png/image"):
            assert problem(service.http.get(path)) == (401, "unauthorized"), path


@pytest.mark.parametrize("path", ["/v1/models/tiny/model.onnx", "/page/page.js", f"{BASE}/{WASM}"])
@pytest.mark.parametrize("range_", ["bytes=0-9", "bytes=999999999-", "bytes=9-1", "apples=1-2", "bytes=0-1,3-4"])
def test_a_file_is_sent_whole(service: Service, path: str, range_: str) -> None:
    """A range that cannot be has no error of another shape."""
    answer = service.http.get(path, headers={"Range": range_})
    assert answer.status_code == 200
    assert answer.headers["accept-ranges"] == "none"
    assert "content-range" not in answer.headers
    assert answer.content == service.http.get(path).content


def test_the_network_is_sent_again_only_when_it_is_another(service: Service) -> None:
    path = "/v1/models/tiny/model.onnx"
    first: httpx.Response = service.http.get(path)
    assert first.headers["cache-control"] == "private, no-cache"
    again = service.http.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert service.http.get(path, headers={"if-none-match": '"another"'}).content == first.content
