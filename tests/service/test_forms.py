from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest

from hetsearch.service.errors import Refusal
from hetsearch.service.forms import Part, read_form


def read(content_type: str, body: bytes, most: int = 10) -> list[Part]:
    return asyncio.run(read_form(content_type, body, most=most))


def test_what_another_library_writes_is_read() -> None:
    """httpx writes the form; pieces, line ends and boundaries lie anywhere in it."""
    blobs = [np.random.default_rng(seed).bytes(size) for seed, size in enumerate((0, 1, 65_535, 200_000))]
    blobs += [b"\r\n--", b"\r\n" * 1000, "ü\x00".encode()]
    files = [("image", (f"b {number}.png", blob)) for number, blob in enumerate(blobs)]
    request = httpx.Request("POST", "http://x", files=files, data={"k": "3", "note": "ü, \r\n"})
    parts = read(request.headers["content-type"], request.read())
    assert [(part.name, bytes(part.content)) for part in parts if not part.is_file] == [
        ("k", b"3"), ("note", "ü, \r\n".encode()),
    ]  # fmt: skip
    assert [(part.name, bytes(part.content)) for part in parts if part.is_file] == [("image", blob) for blob in blobs]


def test_a_truncated_form_is_none() -> None:
    request = httpx.Request("POST", "http://x", files={"image": ("a.png", b"0123456789")}, data={"k": "3"})
    body = request.read()
    for length in range(len(body) - 2):  # the last line end may be missing
        with pytest.raises(Refusal, match="cannot be read") as caught:
            read(request.headers["content-type"], body[:length])
        assert caught.value.status == 400


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=zz"])
def test_another_boundary(boundary: str) -> None:
    kind = f"multipart/form-data{boundary}"
    request = httpx.Request("POST", "http://x", files={"image": ("a.png", b"0123456789")})
    with pytest.raises(Refusal, match="the form cannot be read"):
        read(kind, request.read())


def test_too_many_parts() -> None:
    request = httpx.Request("POST", "http://x", files=[("image", ("a.png", b"0"))] * 11)
    with pytest.raises(Refusal, match="more than 10 parts"):
        read(request.headers["content-type"], request.read())
