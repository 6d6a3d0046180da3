"""Ask a running service with Triton's client, which speaks the Open Inference Protocol: metadata, and vectors.

    pip install 'tritonclient[http]'
    hetsearch serve --encoder zoo/fashion-mnist/query-encoder &
    python scripts/ask_triton.py http://127.0.0.1:8000 --encoder zoo/fashion-mnist/query-encoder

Tensors go as the client sends them by default, as bytes after the JSON, and every other way that it has.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient as AsyncClient

from hetsearch.runtime import OnnxEncoder, load_encoder

TOLERANCE = 1e-4  # of a vector's numbers: a batch is summed in another order than one alone
# Whether pixels and vectors go as bytes; None leaves it to the client.
WAYS = {
    "by default": (None, None),
    "as JSON": (False, False),
    "in JSON, out as bytes": (False, True),
    "in as bytes, out JSON": (True, False),
}


def ask(url: str, bundle: str | Path) -> int:
    """Ask, and say what came; 1 if it is not what the bundle gives here."""
    encoder = load_encoder(bundle)
    host = url.removeprefix("http://")
    client = InferenceServerClient(host)
    print(f"live {client.is_server_live()}, ready {client.is_server_ready()}, {client.get_server_metadata()}")
    metadata = client.get_model_metadata(encoder.name)
    print(f"model {encoder.name}: ready {client.is_model_ready(encoder.name)}, {metadata}")
    spec = encoder.input
    pixels = np.random.default_rng(0).integers(0, 256, (3, spec.channels, spec.size, spec.size), dtype=np.uint8)
    wrong = metadata["parameters"]["space"] != encoder.space
    for name, (sent, wanted) in WAYS.items():
        answer = client.infer(encoder.name, request_id="seven", **_question(pixels, sent, wanted))
        wrong |= _told(name, answer, encoder, pixels)
    client.close()
    wrong |= _told("asyncio, by default", asyncio.run(_awaited(host, encoder.name, pixels)), encoder, pixels)
    return int(wrong)


def _question(pixels: np.ndarray, sent: bool | None, wanted: bool | None) -> dict[str, Any]:
    tensor = InferInput("pixels", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, **({} if sent is None else {"binary_data": sent}))
    outputs = None if wanted is None else [InferRequestedOutput("embedding", binary_data=wanted)]
    return {"inputs": [tensor], "outputs": outputs}


async def _awaited(host: str, name: str, pixels: np.ndarray) -> Any:
    async with AsyncClient(host) as client:
        return await client.infer(name, request_id="seven", **_question(pixels, None, None))


def _told(name: str, answer: Any, encoder: OnnxEncoder, pixels: np.ndarray) -> bool:
    """Say what came; whether it is wrong."""
    found, identity = answer.as_numpy("embedding"), answer.get_response()["id"]
    apart = float(np.abs(found - encoder.encode_pixels(pixels)).max())
    print(f"{name}: {found.dtype} {found.shape}, id {identity}, at most {apart:.1e} apart")
    return apart > TOLERANCE or identity != "seven"


def main() -> int:
    """Ask the service that is named; the exit code is that of :func:`ask`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--encoder", required=True, help="the bundle that the service has")
    given = parser.parse_args()
    return ask(given.url, given.encoder)


if __name__ == "__main__":
    sys.exit(main())
