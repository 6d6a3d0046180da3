from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hetsearch.gallery import open_gallery
from hetsearch.runtime import OnnxEncoder
from hetsearch.service.settings import Settings
from tests.service.serving import Service, data_uri, problem, serving
from tests.support import OTHER_SPACE, SPACE

UNIT = [1.0] + [0.0] * 15


def test_a_picture_finds_what_the_library_finds(
    service: Service, encoder: OnnxEncoder, gallery: Path, pictures: list[Path]
) -> None:
    for picture in pictures[:6]:
        [expected] = open_gallery(gallery).search(encoder.encode(picture), 7)
        by_uri = service.http.post("/v1/search", json={"image": data_uri(picture.read_bytes()), "k": 7}).json()
        by_form = service.http.post("/v1/search", files={"image": picture.read_bytes()}, data={"k": "7"}).json()
        assert by_form == by_uri
        assert (by_uri["space"], by_uri["model"], by_uri["k"], by_uri["generation"]) == (SPACE, "tiny", 7, 1)
        assert [hit["key"] for hit in by_uri["hits"]] == [hit.key for hit in expected]
        assert np.allclose([hit["score"] for hit in by_uri["hits"]], [hit.score for hit in expected], atol=1e-6)
        assert [hit["item"] for hit in by_uri["hits"]] == [{"label": hit.item["label"]} for hit in expected]


def test_a_vector_with_its_space_finds_the_same(service: Service, encoder: OnnxEncoder, pictures: list[Path]) -> None:
    vector = encoder.encode(pictures[0]).vectors[0].tolist()
    by_vector = service.http.post("/v1/search", json={"vector": vector, "space": SPACE}).json()
    by_picture = service.http.post("/v1/search", json={"image": data_uri(pictures[0].read_bytes())}).json()
    assert [hit["key"] for hit in by_vector["hits"]] == [hit["key"] for hit in by_picture["hits"]]
    assert len(by_vector["hits"]) == 10


def test_no_path_of_the_server_is_in_an_answer(service: Service, fashion_folder: Path, pictures: list[Path]) -> None:
    answers = [
        service.http.post("/v1/search", json={"image": data_uri(pictures[0].read_bytes())}),
        service.http.get("/v1/models"), service.http.get("/health"), service.http.get("/openapi.json"),
        service.http.get("/v2/models/tiny"), service.http.get("/metrics"),
    ]  # fmt: skip
    assert not [answer.url for answer in answers if str(fashion_folder.parent) in answer.text or "/tmp" in answer.text]


@pytest.mark.parametrize(
    "filter_",
    [{"label": "class-3"}, {"label": ["class-3", "class-7"]}, {"label": "class-3", "key": ["class-3/000.png"]}],
)
def test_a_filter(service: Service, encoder: OnnxEncoder, gallery: Path, pictures: list[Path], filter_: dict) -> None:
    [expected] = open_gallery(gallery).search(encoder.encode(pictures[0]), 30, filter_, warn=False)
    body = {"image": data_uri(pictures[0].read_bytes()), "k": 30, "filter": filter_}
    found = service.http.post("/v1/search", json=body).json()
    assert [hit["key"] for hit in found["hits"]] == [hit.key for hit in expected]
    form = {"k": "30", "filter": json.dumps(filter_)}
    assert service.http.post("/v1/search", files={"image": pictures[0].read_bytes()}, data=form).json() == found


def test_a_filter_that_keeps_nothing(service: Service) -> None:
    body = {"vector": UNIT, "space": SPACE, "filter": {"label": "hovercraft"}}
    assert service.http.post("/v1/search", json=body).json()["hits"] == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid_request")),
        ({"vector": UNIT}, (422, "invalid_request")),
        ({"vector": UNIT, "space": OTHER_SPACE}, (409, "space_mismatch")),
        ({"vector": UNIT, "space": SPACE, "image": data_uri(b"x")}, (422, "invalid_request")),
        ({"image": data_uri(b"x"), "space": OTHER_SPACE}, (409, "space_mismatch")),
        ({"vector": UNIT[:-1], "space": SPACE}, (422, "invalid_request")),
        ({"vector": [*UNIT, 0.0], "space": SPACE}, (422, "invalid_request")),
        ({"vector": [2.0, *UNIT[1:]], "space": SPACE}, (422, "invalid_request")),
        ({"vector": [0.0] * 16, "space": SPACE}, (422, "invalid_request")),
        ({"vector": [1e308] * 16, "space": SPACE}, (422, "invalid_request")),
        ({"vector": "AAAA", "space": SPACE}, (422, "invalid_request")),
        ({"vector": [], "space": SPACE}, (422, "invalid_request")),
        ({"vector": UNIT, "space": SPACE, "k": 0}, (422, "invalid_request")),
        ({"vector": UNIT, "space": SPACE, "k": 51}, (422, "invalid_request")),
        ({"vector": UNIT, "space": SPACE, "k": 10**30}, (422, "invalid_request")),
        ({"vector": UNIT, "space": SPACE, "k": 2.5}, (422, "invalid_request")),
        ({"vector": UNIT, "space": SPACE, "n": 5}, (422, "invalid_request")),
        ({"vector": UNIT, "space": SPACE, "filter": {"path": "/etc/passwd"}}, (422, "invalid_request")),
        ({"vector": UNIT, "space": SPACE, "filter": {"domain": "shop"}}, (422, "invalid_request")),
        ({"vector": UNIT, "space": SPACE, "filter": {"label": {"not": "x"}}}, (422, "invalid_request")),
    ],
)
def test_refusals(service: Service, body: dict, expected: tuple[int, str]) -> None:
    assert problem(service.http.post("/v1/search", json=body)) == expected


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_vector_that_is_not_finite(service: Service, number: float) -> None:
    body = json.dumps({"vector": [number, *UNIT[1:]], "space": SPACE})
    answer = service.http.post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert problem(answer) == (422, "invalid_request")
    assert "finite" in answer.json()["error"]["message"]


def test_the_message_of_another_space_names_both(service: Service) -> None:
    answer = service.http.post("/v1/search", json={"vector": UNIT, "space": OTHER_SPACE})
    assert OTHER_SPACE in answer.json()["error"]["message"]
    assert SPACE in answer.json()["error"]["message"]
    assert "encoder of the expected space" in answer.json()["error"]["hint"]


def test_a_space_that_is_megabytes_is_not_repeated(service: Service) -> None:
    answer = service.http.post("/v1/search", json={"vector": UNIT, "space": "sp_" + "0" * 100_000})
    assert problem(answer) == (422, "invalid_request")
    assert len(answer.content) < 1000


def test_a_k_above_the_gallery_gives_all(settings: Settings) -> None:
    with serving(settings.model_copy(update={"max_k": 1000})) as service:
        found = service.http.post("/v1/search", json={"vector": UNIT, "space": SPACE, "k": 500}).json()
    assert len({hit["key"] for hit in found["hits"]}) == 200


def test_without_a_gallery(settings: Settings, pictures: list[Path]) -> None:
    with serving(settings.model_copy(update={"gallery": None})) as service:
        assert problem(service.http.post("/v1/search", json={"vector": UNIT})) == (404, "no_gallery")
        assert problem(service.http.get("/v1/items/a/image")) == (404, "no_gallery")
        assert service.http.post("/v1/embeddings", files={"input": pictures[0].read_bytes()}).status_code == 200
        assert service.http.get("/health").json()["items"] is None


def test_the_picture_of_a_hit(service: Service, pictures: list[Path]) -> None:
    body = {"image": data_uri(pictures[2].read_bytes()), "k": 1}
    [hit] = service.http.post("/v1/search", json=body).json()["hits"]
    answer = service.http.get(hit["image"])
    assert answer.headers["content-type"] == "image/png"
    expected = np.asarray(Image.open(pictures[2]).convert("RGB"))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), expected)
    assert Image.open(io.BytesIO(service.http.get(hit["image"], params={"size": 7}).content)).size == (7, 7)
    assert service.http.get("/v1/items/class-1/000.png/image").status_code == 200


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/items/nothing/image", (404, "unknown_item")),
        ("/v1/items//image", (404, "unknown_item")),
        ("/v1/items/..%2F..%2Fetc%2Fpasswd/image", (404, "unknown_item")),
        ("/v1/items/%2Fetc%2Fpasswd/image", (404, "unknown_item")),
        ("/v1/items/%00/image", (404, "unknown_item")),
        ("/v1/items/class-1%2F000.png/image?size=0", (422, "invalid_request")),
        ("/v1/items/class-1%2F000.png/image?size=100000", (422, "invalid_request")),
        ("/v1/items/class-1%2F000.png", (404, "not_found")),
    ],
)
def test_pictures_that_are_not_given(service: Service, path: str, expected: tuple[int, str]) -> None:
    assert problem(service.http.get(path)) == expected
