from __future__ import annotations

import json
import re

import pytest

from tests.service.serving import Service
from tests.support import SPACE

PATHS = {
    "/v1/embeddings": {"post"}, "/v1/search": {"post"}, "/v1/models": {"get"}, "/v1/models/{model}": {"get"},
    "/v1/models/{model}/model.onnx": {"get"}, "/v1/items/{key}/image": {"get"}, "/v2": {"get"},
    "/v2/models/{model}": {"get"}, "/v2/models/{model}/ready": {"get"}, "/v2/models/{model}/infer": {"post"},
    "/v2/health/live": {"get"}, "/v2/health/ready": {"get"}, "/health": {"get"}, "/ping": {"get"}, "/metrics": {"get"},
}  # fmt: skip


@pytest.fixture(scope="module")
def document(service: Service) -> dict:
    return service.http.get("/openapi.json").json()


def test_every_path_is_documented_with_how_it_refuses(document: dict) -> None:
    assert {path: set(methods) for path, methods in document["paths"].items()} == PATHS
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["description"], path
            assert {"200", "401", "421"} <= set(operation["responses"]), path
            if "requestBody" in operation:
                assert {"400", "408", "413", "415", "422", "503"} <= set(operation["responses"]), path
    assert "409" in document["paths"]["/v1/search"]["post"]["responses"]
    assert "securitySchemes" not in document["components"]  # without a key nobody needs one


def test_binary_tensors_are_documented(document: dict) -> None:
    infer = document["paths"]["/v2/models/{model}/infer"]["post"]
    for content in (infer["requestBody"]["content"], infer["responses"]["200"]["content"]):
        assert set(content) == {"application/json", "application/octet-stream"}
    said = {parameter["name"]: (parameter["in"], parameter.get("required", False)) for parameter in infer["parameters"]}
    assert said == {"model": ("path", True), "Inference-Header-Content-Length": ("header", False)}
    tensor = infer["requestBody"]["content"]["application/json"]["schema"]["properties"]["inputs"]["items"]
    assert "binary_data_size" in str(tensor["properties"]["parameters"])


def test_every_reference_leads_somewhere(document: dict) -> None:
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))):
        node = document
        for part in reference.split("/"):
            node = node[part]


def test_the_examples_can_be_sent_as_they_stand(service: Service, document: dict) -> None:
    sent = 0
    for path in ("/v1/embeddings", "/v1/search"):
        body = document["paths"][path]["post"]["requestBody"]["content"]
        for example in body["application/json"]["examples"].values():
            value = example["value"]
            if "filter" in value:
                value = {**value, "filter": {"label": "class-1"}}
            if "vector" in value:  # of a space of two numbers
                value = {**value, "vector": [0.6, 0.8] + [0.0] * 14, "space": SPACE}
            assert service.http.post(path, json=value).status_code == 200, value
            sent += 1
        assert body["multipart/form-data"]["schema"]["properties"]
    assert sent == 4


def test_the_pages_load_nothing_from_elsewhere(service: Service) -> None:
    for path in ("/", "/docs"):
        answer = service.http.get(path)
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        links = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
        assert links
        for link in links:
            assert link.startswith("/"), link
            assert service.http.get(link).status_code == 200, link
