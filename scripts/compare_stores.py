"""One gallery in every store: a FAISS file, a Milvus file, a Milvus server. Are the exact hits the same?

    python scripts/compare_stores.py                              # milvus-lite's own server; a few minutes
    python scripts/compare_stores.py --server http://HOST:19530   # another one

FashionMNIST's 10,000 test images are embedded once; each store is built from the same shards, asked for the first 10 of
1,000 training images, changed (500 items deleted, the same 500 put back by an update), and asked again. Asked for: the
keys are equal in every store, before and after, and the scores to 1e-6. Exit code 1 if any of it does not hold.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hetsearch.data.sources import open_source
from hetsearch.gallery import build_gallery, delete_items, open_gallery, update_gallery
from hetsearch.gallery.card import EMBEDDINGS
from hetsearch.runtime import load_encoder

ENCODER = Path("zoo/fashion-mnist/query-encoder")
QUERIES, DELETED, K = 1000, 500, 10
TOLERANCE = 1e-6
NAME = "hetsearch_compare_stores"


def main() -> int:
    """Build, ask, change, ask; 1 if a store differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, default=ENCODER, help="bundle of the vectors")
    parser.add_argument("--server", help="address of a Milvus server; default: milvus-lite's own, here")
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    images, asked = open_source("fashion-mnist:test"), open_source("fashion-mnist:train")
    queries = encoder.encode([asked.read(row) for row in range(QUERIES)])
    wrong: list[str] = []
    first: tuple[Path, Found] | None = None
    with tempfile.TemporaryDirectory() as temporary, _server(options.server, Path(temporary)) as server:
        places: dict[str, dict[str, Any]] = {
            "FAISS file": {"store": "faiss"},
            "Milvus file": {"store": "milvus"},
            "Milvus server": {"store": "milvus", "uri": f"{server}/{NAME}"},
        }
        for name, place in places.items():
            out = Path(temporary) / name
            if first is not None:
                shutil.copytree(first[0] / EMBEDDINGS, out / EMBEDDINGS)
            begin = time.perf_counter()
            build_gallery(encoder, images, out, progress=False, **place)
            print(f"{name}: {len(open_gallery(out)):,} items after {time.perf_counter() - begin:.1f} s", flush=True)
            hits = _ask(out, queries)
            delete_items(out, images.keys[:DELETED])
            left = len(open_gallery(out))
            update_gallery(out, encoder, images, progress=False)
            again = _ask(out, queries)
            first = first or (out, hits)
            wrong += [f"{name}: {left:,} items after the deletion"] if left != len(images) - DELETED else []
            for when, found in (("built", hits), ("changed", again)):
                wrong += [f"{name}, {when}: {line}" for line in _differences(found, first[1])]
    for line in wrong:
        print(f"WRONG {line}")
    verdict = "not the same" if wrong else "the same in every store, before and after"
    print(f"{QUERIES:,} queries, the first {K}: {verdict}")
    return 1 if wrong else 0


Found = tuple[list[list[str]], np.ndarray]


def _ask(out: Path, queries: Any) -> Found:
    rows = open_gallery(out).search(queries, K)
    return [[hit.key for hit in row] for row in rows], np.array([[hit.score for hit in row] for row in rows])


def _differences(found: Found, expected: Found) -> Iterator[str]:
    rows = sum(ours != theirs for ours, theirs in zip(found[0], expected[0], strict=True))
    largest = float(np.abs(found[1] - expected[1]).max())
    if rows:
        yield f"other keys for {rows} queries"
    if largest > TOLERANCE:
        yield f"scores differ by up to {largest:.1e}"


@contextmanager
def _server(address: str | None, folder: Path) -> Iterator[str]:
    if address:
        yield address.rstrip("/")
        return
    from milvus_lite.adapter.grpc.server import start_server_in_thread

    server, database, port = start_server_in_thread(str(folder / "server"), port=0)
    yield f"http://127.0.0.1:{port}"
    server.stop(grace=0)
    database.close()


if __name__ == "__main__":
    sys.exit(main())
