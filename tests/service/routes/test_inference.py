from __future__ import annotations

import json

import numpy as np
import pytest

from hetsearch.preprocess import InputSpec
from tests.service.serving import Service, problem
from tests.support import SPACE, linear_vectors

INFER = "/v2/models/tiny/infer"


def tensor(pixels: np.ndarray, **changes: object) -> dict:
    one = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "data": pixels.ravel().tolist()}
    return {"inputs": [{**one, **changes}]}


def pixels_of(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)


def test_metadata(service: Service) -> None:
    assert service.http.get("/v2").json()["name"] == "hetsearch"
    document = service.http.get("/v2/models/tiny").json()
    assert document["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 1, 28, 28]}]
    assert document["outputs"] == [{"name": "embedding", "datatype": "FP32", "shape": [-1, 16]}]
    assert document["parameters"]["space"] == SPACE
    assert service.http.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    for path in ("/v2/models/huge", "/v2/models/huge/ready"):
        assert problem(service.http.get(path)) == (404, "unknown_model")


@pytest.mark.parametrize("count", [1, 3, 8])
def test_inference_is_what_numpy_computes(service: Service, count: int) -> None:
    pixels = pixels_of(count)
    body = {"id": "seven", "outputs": [{"name": "embedding"}], **tensor(pixels)}
    document = service.http.post(INFER, json=body).json()
    assert (document["model_name"], document["id"], document["parameters"]) == ("tiny", "seven", {"space": SPACE})
    [output] = document["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("embedding", "FP32", [count, 16])
    found = np.array(output["data"]).reshape(count, 16)
    assert np.allclose(found, linear_vectors(pixels, 16, InputSpec(), seed=0), atol=2e-6)


@pytest.mark.parametrize(
    "more",
    [
        {"id": "7", "outputs": [{"name": "embedding", "parameters": {"binary_data": False}}]},
        {"parameters": {"binary_data_output": True}},
    ],
)
def test_a_body_as_triton_s_client_sends_it(service: Service, more: dict) -> None:
    """It does not say that it is JSON; scripts/ask_triton.py asks with the client itself."""
    answer = service.http.post(INFER, content=json.dumps({**tensor(pixels_of(2)), **more}).encode())
    [output] = answer.json()["outputs"]
    assert (output["shape"], output["datatype"], len(output["data"])) == ([2, 16], "FP32", 32)
    assert answer.json()["id"] == more.get("id")


def test_nested_data_is_the_same(service: Service) -> None:
    pixels = pixels_of(2)
    nested = service.http.post(INFER, json=tensor(pixels, data=pixels.tolist())).json()
    assert nested["outputs"] == service.http.post(INFER, json=tensor(pixels)).json()["outputs"]


SMALL = np.zeros((1, 1, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid_request")),
        ({"inputs": []}, (422, "invalid_request")),
        (tensor(SMALL, name="image"), (422, "invalid_request")),
        (tensor(SMALL, datatype="FP32"), (422, "invalid_request")),
        (tensor(SMALL, shape=[1, 28, 28]), (422, "invalid_request")),
        (tensor(SMALL, shape=[2, 1, 28, 28]), (422, "invalid_request")),
        (tensor(SMALL, shape=[-1, 1, 28, 28]), (422, "invalid_request")),
        (tensor(SMALL, shape=[0, 1, 28, 28], data=[]), (422, "invalid_request")),
        (tensor(SMALL, shape=[10**30, 1, 28, 28]), (422, "invalid_request")),
        (tensor(SMALL, data=[256] * 784), (422, "invalid_request")),
        (tensor(SMALL, data=[-1] * 784), (422, "invalid_request")),
        (tensor(SMALL, data=[0.5] * 784), (422, "invalid_request")),
        (tensor(SMALL, data=[True] * 784), (422, "invalid_request")),
        (tensor(SMALL, data=["0"] * 784), (422, "invalid_request")),
        (tensor(SMALL, data=[None] * 784), (422, "invalid_request")),
        (tensor(SMALL, data=["x" * 100_000, *[0] * 783]), (422, "invalid_request")),  # an array of it: 300 MB
        (tensor(SMALL, data=[[0], 0]), (422, "invalid_request")),
        (tensor(SMALL, data=[10**30] * 784), (422, "invalid_request")),
        (tensor(SMALL, data=[[1], [1, 2]]), (422, "invalid_request")),
        ({**tensor(SMALL), "outputs": [{"name": "logits"}]}, (422, "invalid_request")),
        (tensor(pixels_of(9)), (413, "batch_too_large")),
    ],
)
def test_refusals(service: Service, body: dict, expected: tuple[int, str]) -> None:
    assert problem(service.http.post(INFER, json=body)) == expected


def test_a_form_is_no_tensor(service: Service) -> None:
    assert problem(service.http.post(INFER, files={"pixels": b"x"})) == (415, "unsupported_body")
    assert problem(service.http.post("/v2/models/huge/infer", json=tensor(SMALL))) == (404, "unknown_model")
