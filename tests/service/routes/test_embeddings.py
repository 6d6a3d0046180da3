from __future__ import annotations

import base64
import hashlib
import shutil
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from hetsearch.runtime import OnnxEncoder
from hetsearch.service.settings import Settings
from tests.service.serving import WAIT, Service, data_uri, problem, serving
from tests.support import SPACE


def vectors_of(document: dict) -> np.ndarray:
    return np.array([row["embedding"] for row in document["data"]])


def test_openais_shape(service: Service, encoder: OnnxEncoder, pictures: list[Path]) -> None:
    uris = [data_uri(path.read_bytes()) for path in pictures[:5]]
    document = service.http.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": uris}).json()
    assert (document["object"], document["model"], document["space"]) == ("list", "tiny", SPACE)
    assert [(row["object"], row["index"]) for row in document["data"]] == [("embedding", row) for row in range(5)]
    assert document["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
    assert np.allclose(vectors_of(document), encoder.encode(pictures[:5]).vectors, atol=2e-6)


def test_one_picture_and_what_openai_may_send_besides(
    service: Service, encoder: OnnxEncoder, pictures: list[Path]
) -> None:
    body = {"input": data_uri(pictures[3].read_bytes()), "user": "somebody", "dimensions": 16}
    document = service.http.post("/v1/embeddings", json=body).json()
    assert np.allclose(vectors_of(document), encoder.encode(pictures[3]).vectors, atol=2e-6)


def test_base64_is_little_endian_float32(service: Service, encoder: OnnxEncoder, pictures: list[Path]) -> None:
    body = {"input": [data_uri(path.read_bytes()) for path in pictures[:2]], "encoding_format": "base64"}
    document = service.http.post("/v1/embeddings", json=body).json()
    found = np.stack([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in document["data"]])
    assert np.allclose(found, encoder.encode(pictures[:2]).vectors, atol=2e-6)


def test_a_form_with_files(service: Service, encoder: OnnxEncoder, pictures: list[Path]) -> None:
    files = [("anything", (path.name, path.read_bytes(), "image/png")) for path in pictures[:3]]
    document = service.http.post("/v1/embeddings", files=files, data={"model": "x"}).json()
    assert np.allclose(vectors_of(document), encoder.encode(pictures[:3]).vectors, atol=2e-6)


def test_the_steps_are_timed(service: Service, pictures: list[Path]) -> None:
    answer = service.http.post("/v1/embeddings", files={"input": pictures[0].read_bytes()})
    assert [part.split(";")[0] for part in answer.headers["server-timing"].split(", ")] == ["decode", "embed"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid_request")),
        ({"input": []}, (422, "invalid_request")),
        ({"input": 5}, (422, "invalid_request")),
        ({"input": "a shirt"}, (422, "invalid_request")),
        ({"input": "https://example.com/shirt.png"}, (422, "invalid_request")),
        ({"input": data_uri(b"x"), "encoding_format": "hex"}, (422, "invalid_request")),
        ({"input": data_uri(b"x"), "dimensions": 8}, (422, "invalid_request")),
        ({"input": [data_uri(b"x")] * 9}, (413, "batch_too_large")),
        ({"input": data_uri(b"no picture")}, (415, "unsupported_image")),
        ({"input": data_uri(b"x", "text/html")}, (415, "unsupported_image")),
    ],
)
def test_refusals(service: Service, body: dict, expected: tuple[int, str]) -> None:
    assert problem(service.http.post("/v1/embeddings", json=body)) == expected


def test_a_url_is_named_as_what_it_is_and_never_fetched(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bait:
        bait.setblocking(False)
        url = f"http://127.0.0.1:{bait.getsockname()[1]}/shirt.png"
        for path, body in (("/v1/embeddings", {"input": url}), ("/v1/search", {"image": url})):
            answer = service.http.post(path, json=body)
            assert "URLs are never fetched" in answer.json()["error"]["message"]
        with pytest.raises(BlockingIOError):  # nobody has called
            bait.accept()


def test_too_many_files_in_a_form(service: Service, pictures: list[Path]) -> None:
    for count in (9, 30):
        files = [("input", ("a.png", pictures[0].read_bytes()))] * count
        assert problem(service.http.post("/v1/embeddings", files=files)) == (413, "batch_too_large")


def test_the_model_and_its_network(service: Service, encoder: OnnxEncoder, bundle: Path) -> None:
    [model] = service.http.get("/v1/models").json()["data"]
    assert (model["id"], model["object"], model["space"], model["dim"]) == ("tiny", "model", SPACE, 16)
    assert model["input"] == encoder.input.model_dump(mode="json")
    assert service.http.get("/v1/models/tiny").json() == model
    network = service.http.get(model["onnx"]).content
    assert hashlib.sha256(network).digest() == hashlib.sha256((bundle / "model.onnx").read_bytes()).digest()
    for path in ("/v1/models/gpt", "/v1/models/gpt/model.onnx"):
        assert problem(service.http.get(path)) == (404, "unknown_model")


def test_a_model_of_any_name_has_an_address(settings: Settings, bundle: Path, tmp_path: Path) -> None:
    odd = shutil.copytree(bundle, tmp_path / "a b#c?d%20é")
    with serving(settings.model_copy(update={"encoder": odd})) as service:
        [model] = service.http.get("/v1/models").json()["data"]
        assert model["id"] == "a b#c?d%20é"
        assert service.http.get(model["onnx"]).content == (bundle / "model.onnx").read_bytes()


def test_after_a_picture_that_cannot_be_read_no_other_is_decoded(settings: Settings, pictures: list[Path]) -> None:
    """Its places in the queue are free again; else a request could have more work done than the queue has room for."""
    good, begun, go = pictures[0].read_bytes(), [], threading.Event()
    with serving(settings.model_copy(update={"decoders": 1})) as service:
        decode = service.engine._decode

        def slow(picture: str | bytes) -> np.ndarray:
            begun.append(picture)
            if len(begun) == 2:
                assert go.wait(WAIT)
            return decode(picture)

        service.engine._decode = slow
        files = [("input", ("a.png", blob)) for blob in (b"no picture", *[good] * 7)]
        assert problem(service.http.post("/v1/embeddings", files=files)) == (415, "unsupported_image")
        service.until(0)
        go.set()
        assert service.http.post("/v1/embeddings", files={"input": good}).status_code == 200
        assert len(begun) <= 3
