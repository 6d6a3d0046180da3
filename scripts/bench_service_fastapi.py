"""The same network behind bare FastAPI, without batching: a peer of bench_service.py, which starts it.

    python scripts/bench_service_fastapi.py --encoder zoo/fashion-mnist/query-encoder --port 8001

It is as FastAPI's tutorial writes such a thing: a plain function, which the framework runs in its pool of threads.
"""

import argparse
import base64

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from hetsearch.preprocess import preprocess
from hetsearch.runtime import load_encoder

app = FastAPI()


class Asked(BaseModel):
    """A picture as a data URI."""

    input: str


@app.get("/health")
def health() -> str:
    """Whether it answers."""
    return "ok"


@app.post("/v1/embeddings")
def embeddings(asked: Asked) -> dict[str, list[dict[str, list[float]]]]:
    """Embed one picture."""
    encoder = app.state.encoder
    pixels = preprocess(base64.b64decode(asked.input.partition(",")[2]), encoder.input)
    return {"data": [{"embedding": encoder.encode_pixels(pixels[None])[0].tolist()}]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    app.state.encoder = load_encoder(given.encoder)
    uvicorn.run(app, port=given.port, log_level="warning")
