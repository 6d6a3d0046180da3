"""Ask a running service with Triton's client, which speaks the Open Inference Protocol: metadata, and vectors.

    pip install 'tritonclient[http]'
    hetsearch serve --encoder zoo/fashion-mnist/query-encoder &
    python scripts/ask_triton.py http://127.0.0.1:8000 --encoder zoo/fashion-mnist/query-encoder

Tensors go as JSON (``binary_data=False``): the service does not know the protocol's extension for binary ones.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from hetsearch.runtime import load_encoder

TOLERANCE = 1e-4  # of a vector's numbers: a batch is summed in another order than one alone


def main() -> int:
    """Ask, and say what came; 1 if it is not what the bundle gives here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--encoder", required=True, help="the bundle that the service has")
    given = parser.parse_args()
    encoder = load_encoder(given.encoder)
    client = InferenceServerClient(given.url.removeprefix("http://"))
    print(f"live {client.is_server_live()}, ready {client.is_server_ready()}, {client.get_server_metadata()}")
    metadata = client.get_model_metadata(encoder.name)
    print(f"model {encoder.name}: ready {client.is_model_ready(encoder.name)}, {metadata}")
    spec = encoder.input
    pixels = np.random.default_rng(0).integers(0, 256, (3, spec.channels, spec.size, spec.size), dtype=np.uint8)
    tensor = InferInput("pixels", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels, binary_data=False)
    outputs = [InferRequestedOutput("embedding", binary_data=False)]
    answer = client.infer(encoder.name, [tensor], outputs=outputs, request_id="seven")
    found = answer.as_numpy("embedding")
    apart = float(np.abs(found - encoder.encode_pixels(pixels)).max())
    print(f"inferred {found.dtype} {found.shape}, id {answer.get_response()['id']}, at most {apart:.1e} apart")
    return int(apart > TOLERANCE or metadata["parameters"]["space"] != encoder.space)


if __name__ == "__main__":
    sys.exit(main())
