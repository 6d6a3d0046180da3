"""The same network behind LitServe, with batching: a peer of bench_service.py, which starts it.

    pip install litserve
    python scripts/bench_service_litserve.py --encoder zoo/fashion-mnist/query-encoder --port 8002

It batches as hetsearch does: up to 32 requests in a call of the network, waiting for none. One process answers, another
decodes and embeds, which is LitServe's least. It is fastest so; while nobody asks it then takes one core all the time.
"""

import argparse
import base64
from typing import Any

import litserve
import numpy as np

from hetsearch.preprocess import Pixels, preprocess
from hetsearch.runtime import load_encoder

MOST = 32  # requests in a call of the network, as hetsearch's --max-batch


class Embed(litserve.LitAPI):  # type: ignore[misc]  # its types are not known
    """One picture a request, as a data URI."""

    def __init__(self, bundle: str) -> None:
        super().__init__(max_batch_size=MOST, batch_timeout=0.0, api_path="/v1/embeddings")
        self.bundle = bundle

    def setup(self, device: str) -> None:
        """In the worker process."""
        self.encoder = load_encoder(self.bundle)

    def decode_request(self, request: dict[str, Any]) -> Pixels:
        """The picture, ``uint8 (channels, size, size)``."""
        return preprocess(base64.b64decode(request["input"].partition(",")[2]), self.encoder.input)

    def batch(self, inputs: list[Pixels]) -> Pixels:
        """What waits together."""
        return np.stack(inputs)

    def predict(self, x: Pixels) -> Any:
        """One call of the network."""
        return self.encoder.encode_pixels(x)

    def unbatch(self, output: Any) -> list[Any]:
        """To each its own."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The answer."""
        return {"data": [{"embedding": output.tolist()}]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    server = litserve.LitServer(Embed(given.encoder), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=given.port, num_api_servers=1, generate_client_file=False, log_level="warning"
    )
