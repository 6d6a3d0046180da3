from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import httpx
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
    server = service.http.get("/v2").json()
    assert (server["name"], server["extensions"]) == ("hetsearch", ["binary_tensor_data"])
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
        {"parameters": {"binary_data_output": False, "sequence_id": 3}},
    ],
)
def test_a_body_as_triton_s_client_sends_it(service: Service, more: dict) -> None:
    """It does not say that it is JSON; scripts/ask_triton.py asks with the client itself."""
    answer = service.http.post(INFER, content=json.dumps({**tensor(pixels_of(2)), **more}).encode())
    [output] = answer.json()["outputs"]
    assert (output["shape"], output["datatype"], len(output["data"])) == ([2, 16], "FP32", 32)
    assert answer.json().get("id") == more.get("id")
    assert "inference-header-content-length" not in answer.headers


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
        (tensor(SMALL, shape=[10**30, 1, 28, 28]), (413, "batch_too_large")),
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


def put(service: Service, document: dict, tensors: bytes = b"", **headers: str) -> httpx.Response:
    """A body as the protocol's extension lays it out: JSON, its length in a header, and the tensors."""
    head = json.dumps(document).encode()
    said = {"Inference-Header-Content-Length": str(len(head)), **headers}
    return service.http.post(INFER, content=head + tensors, headers={k.replace("_", "-"): v for k, v in said.items()})


def binary(pixels: np.ndarray, size: object = None, **more: object) -> dict:
    parameters = {"binary_data_size": pixels.size if size is None else size}
    one = {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape), "parameters": parameters, **more}
    return {"inputs": [one]}


WANTED: dict[str, tuple[Mapping[str, object], bool]] = {
    "nothing said": ({}, False),
    "the output": ({"outputs": [{"name": "embedding", "parameters": {"binary_data": True}}]}, True),
    "all of them": ({"parameters": {"binary_data_output": True}}, True),
    "all, but not this": (
        {
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "embedding", "parameters": {"binary_data": False}}],
        },
        False,
    ),
    "all, of which this says nothing": (
        {"parameters": {"binary_data_output": True}, "outputs": [{"name": "embedding", "parameters": {}}]},
        True,
    ),
}


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("sent_as_bytes", [True, False])
def test_tensors_as_bytes(service: Service, wanted: str, sent_as_bytes: bool) -> None:
    """In and out, together or alone; the bytes are cut and read by hand."""
    pixels, (more, as_bytes) = pixels_of(3), WANTED[wanted]
    if sent_as_bytes:
        answer = put(service, {"id": "7", **binary(pixels), **more}, pixels.tobytes())
    else:
        answer = service.http.post(INFER, json={"id": "7", **tensor(pixels), **more})
    expected = linear_vectors(pixels, 16, InputSpec(), seed=0)
    assert answer.status_code == 200, answer.text
    if not as_bytes:
        assert answer.headers["content-type"] == "application/json"
        assert "inference-header-content-length" not in answer.headers
        found = np.array(answer.json()["outputs"][0]["data"], np.float32)
        assert set(answer.json()["outputs"][0]) == {"name", "datatype", "shape", "data"}
    else:
        assert answer.headers["content-type"] == "application/octet-stream"
        end = int(answer.headers["inference-header-content-length"])
        document = json.loads(answer.content[:end])
        assert document == {
            "model_name": "tiny", "model_version": "1", "id": "7", "parameters": {"space": SPACE},
            "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [3, 16],
                         "parameters": {"binary_data_size": 3 * 16 * 4}}],
        }  # fmt: skip
        assert len(answer.content) == end + 3 * 16 * 4
        found = np.frombuffer(answer.content[end:], "<f4")
    assert np.allclose(found.reshape(3, 16), expected, atol=2e-6)


def test_bytes_and_numbers_give_the_same_bits(service: Service) -> None:
    pixels = pixels_of(1)
    numbers = service.http.post(INFER, json=tensor(pixels)).json()["outputs"][0]["data"]
    answer = put(service, {**binary(pixels), "parameters": {"binary_data_output": True}}, pixels.tobytes())
    end = int(answer.headers["inference-header-content-length"])
    assert answer.content[end:] == np.array(numbers, "<f4").tobytes()


ZEROS, LENGTH = bytes(784), "Inference_Header_Content_Length"


@pytest.mark.parametrize(
    ("document", "tensors", "headers", "expected"),
    [
        (binary(SMALL), ZEROS, {LENGTH: "-1"}, (400, "malformed_body")),
        (binary(SMALL), ZEROS, {LENGTH: ""}, (400, "malformed_body")),
        (binary(SMALL), ZEROS, {LENGTH: "1e3"}, (400, "malformed_body")),
        (binary(SMALL), ZEROS, {LENGTH: "0x10"}, (400, "malformed_body")),
        (binary(SMALL), ZEROS, {LENGTH: "+5"}, (400, "malformed_body")),
        (binary(SMALL), ZEROS, {LENGTH: "9" * 5000}, (400, "malformed_body")),
        (binary(SMALL), ZEROS, {LENGTH: "5000"}, (400, "malformed_body")),  # longer than the body
        (binary(SMALL), ZEROS, {LENGTH: "0"}, (400, "malformed_body")),
        (binary(SMALL), ZEROS, {LENGTH: "20"}, (400, "malformed_body")),  # in the middle of the JSON
        (binary(SMALL), b"", {}, (422, "invalid_request")),
        (binary(SMALL), ZEROS[1:], {}, (422, "invalid_request")),
        (binary(SMALL), ZEROS + b"\0", {}, (422, "invalid_request")),
        (binary(SMALL, size=783), ZEROS[1:], {}, (422, "invalid_request")),
        (binary(SMALL, size=785), ZEROS + b"\0", {}, (422, "invalid_request")),
        (binary(SMALL, size=0), b"", {}, (422, "invalid_request")),
        (binary(SMALL, size=-784), ZEROS, {}, (422, "invalid_request")),
        (binary(SMALL, size=10**30), ZEROS, {}, (422, "invalid_request")),
        (binary(SMALL, size="784"), ZEROS, {}, (422, "invalid_request")),
        (binary(SMALL, size=784.0), ZEROS, {}, (422, "invalid_request")),
        (binary(SMALL, size=True), ZEROS, {}, (422, "invalid_request")),
        (binary(SMALL, data=[0] * 784), ZEROS, {}, (422, "invalid_request")),  # both
        (binary(SMALL, parameters={}), b"", {}, (422, "invalid_request")),  # neither
        (tensor(SMALL), ZEROS, {}, (422, "invalid_request")),  # bytes that are nobody's
        (binary(SMALL, datatype="FP32"), ZEROS, {}, (422, "invalid_request")),
        (binary(SMALL, datatype="UINT7"), ZEROS, {}, (422, "invalid_request")),
        (binary(SMALL, datatype="BYTES"), ZEROS, {}, (422, "invalid_request")),
        (binary(SMALL, shape=[1, 784]), ZEROS, {}, (422, "invalid_request")),
        (binary(SMALL, shape=[2, 1, 28, 28]), ZEROS, {}, (422, "invalid_request")),
        ({"inputs": binary(SMALL)["inputs"] * 2}, ZEROS * 2, {}, (422, "invalid_request")),
        ({**binary(SMALL), "parameters": {"binary_data_output": "yes"}}, ZEROS, {}, (422, "invalid_request")),
        (
            {**binary(SMALL), "outputs": [{"name": "embedding", "parameters": {"binary_data": 1}}]},
            ZEROS,
            {},
            (422, "invalid_request"),
        ),
        (binary(pixels_of(9)), pixels_of(9).tobytes(), {}, (413, "batch_too_large")),
        (binary(SMALL), bytes(200_000), {}, (413, "body_too_large")),
        (binary(SMALL), ZEROS, {"Content_Type": "text/plain"}, (415, "unsupported_body")),
        (binary(SMALL), ZEROS, {"Content_Encoding": "gzip"}, (415, "unsupported_body")),
    ],
)
def test_bytes_that_do_not_add_up(
    service: Service, document: dict, tensors: bytes, headers: dict, expected: tuple[int, str]
) -> None:
    assert problem(put(service, document, tensors, **headers)) == expected


def test_bytes_that_no_header_tells_of(service: Service) -> None:
    pixels = pixels_of(1)
    head = json.dumps(binary(pixels)).encode()
    assert problem(service.http.post(INFER, content=head + pixels.tobytes())) == (400, "malformed_body")
    twice = [("Inference-Header-Content-Length", str(len(head)))] * 2
    answer = service.http.post(INFER, content=head + pixels.tobytes(), headers=twice)
    assert problem(answer) == (400, "malformed_body")


@pytest.fixture
def ask_triton(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("tritonclient.http", reason="Triton's client is not installed")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "scripts"))
    import ask_triton

    return ask_triton


def test_triton_s_own_client(
    ask_triton: ModuleType, service: Service, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask_triton.ask(service.url, bundle) == 0
    said = capsys.readouterr().out
    assert "live True, ready True" in said
    assert "binary_tensor_data" in said
    for way in ("by default", "as JSON", "in JSON, out as bytes", "in as bytes, out JSON", "asyncio, by default"):
        assert f"{way}: float32 (3, 16), id seven" in said
