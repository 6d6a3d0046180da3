"""clip-retrieval's own reader, runner and writer around our network: the peer's side of scripts/bench_embed.py.

It runs in an environment of its own, because clip-retrieval needs NumPy 1 and an older pyarrow:

    python3.11 -m venv PEER
    PEER/bin/pip install --no-deps clip-retrieval==2.45.0
    PEER/bin/pip install "numpy<2" torch "pandas<3" "pyarrow<16" fsspec pillow pydantic onnxruntime==OURS

OURS is the version of ONNX Runtime that hetsearch runs with here; the benchmark refuses another.

What clip-retrieval's first import would ask for beside these (a web server, CLIP models, autofaiss) no part of the
inference uses. Only its mapper, which loads a CLIP model by name, is replaced: by the network of the bundle in ONNX
Runtime, with as many threads as ours has. It keeps the vectors in float16, as clip-retrieval does.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from PIL import Image

# Our preprocessing without our package's first import: it needs only NumPy, Pillow and pydantic.
sys.path.insert(0, str(Path(__file__).parents[1]))
from hetsearch.preprocess import InputSpec, to_pixels


def main() -> None:
    """Embed a folder, and print the seconds as JSON."""
    options = _options()
    _package("clip_retrieval")
    from clip_retrieval.clip_inference.reader import FilesReader
    from clip_retrieval.clip_inference.runner import Runner
    from clip_retrieval.clip_inference.writer import NumpyWriter

    card = json.loads((options.encoder / "encoder.json").read_text())
    spec = InputSpec.model_validate(card["input"])
    mapper = _Mapper(options.encoder / "model.onnx", options.threads)
    runner = Runner(
        lambda sampler: FilesReader(sampler, _Preprocess(spec), None, options.images, options.batch, options.workers,
                                    enable_text=False),
        lambda: mapper,
        lambda number: NumpyWriter(number, str(options.out), False, True, False, 1),
        lambda number: _Logger(),
        1,
    )  # fmt: skip
    begin = time.perf_counter()
    runner(0)
    seconds = time.perf_counter() - begin
    rows = len(np.load(next((options.out / "img_emb").glob("*.npy"))))
    sys.stdout.write(json.dumps({"seconds": seconds, "rows": rows, "onnxruntime": ort.__version__}) + "\n")


class _Preprocess:
    def __init__(self, spec: InputSpec) -> None:
        self.spec = spec

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(to_pixels(image, self.spec))


class _Mapper:
    """clip-retrieval's ClipMapper with another network."""

    def __init__(self, path: Path, threads: int) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        vectors = self.session.run(["embedding"], {"pixels": item["image_tensor"].numpy()})[0]
        nothing = {"text_embs": None, "text": None, "metadata": None}
        return {"image_embs": vectors.astype(np.float16), "image_filename": item["image_filename"], **nothing}


class _Logger:
    def start(self) -> None:
        """Nothing: clip-retrieval would start a process that writes statistics."""

    def end(self) -> None:
        """Nothing."""

    def __call__(self, stats: dict[str, float]) -> None:
        """Nothing."""


def _package(name: str) -> None:
    """The package without what its first import would bring in."""
    found = importlib.util.find_spec(name)
    if found is None:
        raise SystemExit(f"{name} is not installed here")
    for inner in (name, f"{name}.clip_inference"):
        module = types.ModuleType(inner)
        place = Path(next(iter(found.submodule_search_locations or ())))
        module.__path__ = [str(place if inner == name else place / "clip_inference")]
        sys.modules[inner] = module


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for name in ("encoder", "images", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("threads", "workers", "batch"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
