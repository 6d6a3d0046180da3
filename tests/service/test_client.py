from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from hetsearch.errors import DataError, HetsearchError, ImageError, ServiceError, SpaceMismatch, UsageError
from hetsearch.gallery import open_gallery
from hetsearch.query import search
from hetsearch.runtime import OnnxEncoder
from hetsearch.service.client import AsyncClient, Client
from hetsearch.service.settings import Settings
from hetsearch.space import Embeddings
from tests.service.serving import Service, serving
from tests.support import OTHER_SPACE, SPACE, linear_bundle


def bodies_of(http: httpx.Client | httpx.AsyncClient) -> list[tuple[str, bytes]]:
    """Note what a client sends."""
    sent: list[tuple[str, bytes]] = []
    hook = sent.append
    if isinstance(http, httpx.AsyncClient):

        async def note(request: httpx.Request) -> None:
            hook((request.url.path, request.content))

        http.event_hooks["request"] = [note]
    else:
        http.event_hooks["request"] = [lambda request: hook((request.url.path, request.read()))]
    return sent


def test_what_the_library_gives_over_http(
    service: Service, encoder: OnnxEncoder, gallery: Path, pictures: list[Path]
) -> None:
    blank = np.zeros((9, 9), np.uint8)
    forms = [pictures[0], str(pictures[1]), pictures[2].read_bytes(), Image.open(pictures[3]), blank]
    expected = encoder.encode(forms)
    with Client(service.url) as client:
        found = client.encode(forms)
        assert (found.space, found.keys) == (expected.space, expected.keys)
        assert np.allclose(found.vectors, expected.vectors, atol=2e-6)
        assert client.encode(forms[0]).vectors.shape == (1, 16)
        assert client.encode([]).vectors.shape == (0, 16)
        hits = client.search(forms, k=4, where={"label": ["class-0", "class-1"]})
        own = search(encoder, open_gallery(gallery), forms, 4, {"label": ["class-0", "class-1"]})
        assert [[hit.key for hit in row] for row in hits] == [[hit.key for hit in row] for row in own]
        assert [hit.item for hit in hits[0]] == [{"label": hit.item["label"]} for hit in own[0]]
        assert (client.model().name, client.model().space, client.model().dim) == ("tiny", SPACE, 16)


def test_more_pictures_than_a_request_takes(settings: Settings, encoder: OnnxEncoder) -> None:
    many = np.random.default_rng(0).integers(0, 256, (70, 28, 28), dtype=np.uint8)
    with serving(settings.model_copy(update={"max_images": 32})) as service, Client(service.url) as client:
        assert np.allclose(client.encode(many).vectors, encoder.encode(many).vectors, atol=2e-6)


def test_a_photograph_travels_small(service: Service, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    with httpx.Client() as http:
        sent = bodies_of(http)
        Client(service.url, http=http).search(tmp_path / "photo.png", k=1)
    assert (tmp_path / "photo.png").stat().st_size > 500_000
    assert [path for path, _ in sent] == ["/v1/models", "/v1/search"]
    assert len(sent[1][1]) < 2_000


def test_with_a_bundle_only_the_vector_and_its_space_are_sent(
    service: Service, bundle: Path, encoder: OnnxEncoder, pictures: list[Path]
) -> None:
    with httpx.Client() as http:
        sent = bodies_of(http)
        client = Client(service.url, encoder=bundle, http=http)
        hits = client.search(pictures[0], k=3)
        assert np.array_equal(client.encode(pictures[0]).vectors, encoder.encode(pictures[0]).vectors)
    [(path, body)] = sent
    document = json.loads(body)
    assert path == "/v1/search"
    assert set(document) == {"vector", "space", "k"}
    assert (document["space"], len(document["vector"]), document["k"]) == (SPACE, 16, 3)
    with Client(service.url) as other:
        assert [[hit.key for hit in row] for row in hits] == [
            [hit.key for hit in row] for row in other.search(encoder.encode(pictures[0]), k=3)
        ]


def test_the_same_awaited(service: Service, encoder: OnnxEncoder, bundle: Path, pictures: list[Path]) -> None:
    async def run() -> None:
        async with AsyncClient(service.url) as plain, AsyncClient(service.url, encoder=bundle) as light:
            assert (await plain.model()).dim == 16
            found = await asyncio.gather(*(plain.encode(picture) for picture in pictures))
            for picture, embeddings in zip(pictures, found, strict=True):
                assert np.allclose(embeddings.vectors, encoder.encode(picture).vectors, atol=2e-6)
            [one], [two] = await asyncio.gather(plain.search(pictures[0], k=3), light.search(pictures[0], k=3))
            assert [hit.key for hit in one] == [hit.key for hit in two]
            with pytest.raises(UsageError, match=r"refuses \(422\)"):
                await light.search(pictures[0], k=0)
        with pytest.raises(ServiceError, match="does not answer"):
            async with AsyncClient("http://127.0.0.1:9") as nobody:
                await nobody.model()

    asyncio.run(run())


def vector(first: float, space: str, dim: int = 16) -> Embeddings:
    return Embeddings(np.eye(1, dim, dtype=np.float32) * np.float32(first), space, ("q",))


@pytest.mark.parametrize(
    ("call", "kind", "match"),
    [
        (lambda c: c.search(vector(1.0, OTHER_SPACE)), SpaceMismatch, f"409.*{OTHER_SPACE}"),
        (lambda c: c.search(vector(1.0, SPACE, dim=8)), UsageError, r"expected \(n, 16\)"),
        (lambda c: c.search(vector(np.nan, SPACE)), DataError, "NaN"),
        (lambda c: c.search(np.zeros((9, 9), np.uint8), k=0), UsageError, "'k' in the body"),
        (lambda c: c.search(np.zeros((9, 9), np.uint8), where={"colour": "red"}), UsageError, "filter.colour"),
        (lambda c: c.encode(b"no picture"), ImageError, "cannot be read"),
    ],
)
def test_refusals_are_the_errors_of_the_library(
    service: Service, call: Callable[[Client], object], kind: type[HetsearchError], match: str
) -> None:
    with Client(service.url) as client, pytest.raises(kind, match=match):
        call(client)


def test_the_key(settings: Settings) -> None:
    with serving(settings, "k3y") as service:
        with Client(service.url, api_key="k3y") as client:
            assert client.model().space == SPACE
        with Client(service.url) as client, pytest.raises(UsageError, match=r"401.*Send the header"):
            client.model()


def answering(*answers: httpx.Response | httpx.HTTPError) -> httpx.MockTransport:
    left = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        found = left.pop(0)
        if isinstance(found, httpx.HTTPError):
            raise found
        return found

    return httpx.MockTransport(answer)


def busy(wait: str, status: int = 503) -> httpx.Response:
    error = {"error": {"code": "queue_full", "message": "full", "hint": "Wait."}}
    return httpx.Response(status, json=error, headers={"Retry-After": wait})


MODEL = {"data": [{"id": "tiny", "space": SPACE, "dim": 2, "input": {}}]}


@pytest.mark.parametrize(
    ("answers", "match"),
    [
        ([httpx.Response(502, text="<html>Bad Gateway")], "not that of a hetsearch service: observed 502"),
        ([httpx.Response(200, json=[1])], "not that of a hetsearch service"),
        ([httpx.Response(200, json={"data": []})], "not that of a hetsearch service.*IndexError"),
        ([httpx.Response(404, json={"detail": "Not Found"})], "404 without an error"),
        ([busy("0")] * 4, r"refuses \(503\): full. Try again in 0 s"),
        ([busy("Wed, 21 Oct 2026 07:28:00 GMT")], r"refuses \(503\): full"),
        ([httpx.ReadTimeout("timed out")], r"not answer in time: observed ReadTimeout: timed out. Give it a longer"),
        ([httpx.ConnectError("refused")], r"does not answer: observed ConnectError: refused. Is it running\?"),
        (
            [httpx.Response(200, json=MODEL), httpx.Response(200, json={"model": "huge", "space": SPACE, "data": []})],
            "changed its encoder: observed huge of",
        ),
        (
            [httpx.Response(200, json=MODEL), httpx.Response(200, json={"model": "tiny", "space": SPACE, "data": []})],
            "not that of a hetsearch service",
        ),
    ],
)
def test_answers_that_should_not_be(answers: list[httpx.Response], match: str) -> None:
    client = Client("http://shop.example", http=httpx.Client(transport=answering(*answers)))
    with pytest.raises(ServiceError, match=match):
        client.encode(np.zeros((9, 9), np.uint8))


def test_an_encoder_of_another_space(service: Service, tmp_path: Path) -> None:
    other = linear_bundle(tmp_path / "other", space=OTHER_SPACE)
    with Client(service.url, encoder=other) as client, pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}"):
        client.search(np.zeros((9, 9), np.uint8))


def test_a_busy_service_is_asked_again_when_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("anyio.sleep", note)

    def shop() -> httpx.MockTransport:
        return answering(busy("2"), busy("3600", 429), httpx.Response(200, json=MODEL))

    assert Client("http://shop.example", http=httpx.Client(transport=shop())).model().dim == 2
    awaited = AsyncClient("http://shop.example", http=httpx.AsyncClient(transport=shop()))
    assert asyncio.run(awaited.model()).dim == 2
    assert waited == [0.0, 2.0, 10.0] * 2  # not an hour, whoever asks for it


@pytest.mark.parametrize("url", ["localhost:8000", "http://[::", "ftp://shop.example", ""])
def test_no_address(url: str) -> None:
    with pytest.raises(UsageError, match=r"this is no address of a service: observed .*expected something like http:"):
        Client(url)


def test_what_cannot_be_sent_is_named_before_anything_is(bundle: Path) -> None:
    model = {"data": [{"id": "tiny", "space": SPACE, "dim": 16, "input": {}}]}
    blank = np.zeros((9, 9), np.uint8)
    client = Client("http://shop.example", http=httpx.Client(transport=answering(httpx.Response(200, json=model))))
    with pytest.raises(ImageError, match=r"picture '1': an array is not an image: observed float64 \(9, 9\)"):
        client.encode([blank, np.full((9, 9), np.nan)])
    with pytest.raises(DataError, match="pictures and keys do not match: observed 2 and 1 keys"):
        client.encode([blank, blank], keys=["a"])
    with pytest.raises(UsageError, match="nothing to embed in this: observed BytesIO"):
        client.search(io.BytesIO(b""))  # type: ignore[arg-type]
