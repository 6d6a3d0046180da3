"""The benchmark of indexes, on a few thousand vectors and without a process of its own for each step."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from hetsearch.gallery import open_gallery, verify_gallery
from hetsearch.gallery.embedding.shards import open_shards
from tests.gallery.stores.test_faiss_store import unit
from tests.support import SPACE

COUNT, DIM, FACTORY = 5000, 16, "IVF16,SQ8@nprobe=8"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Embeddings are replaced by noise, the time of a measurement by a handful of calls."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import bench_index
    import index_work

    monkeypatch.setattr(index_work, "SECONDS", 0.0)
    monkeypatch.setattr(bench_index, "load_encoder", lambda path: SimpleNamespace(space=SPACE, dim=DIM, name="some"))
    monkeypatch.setattr(bench_index, "open_source", lambda source: source)
    monkeypatch.setattr(bench_index, "_embedded", lambda encoder, source: (unit(600, DIM, len(source)), ["x"] * 600))
    monkeypatch.setattr(bench_index, "step", lambda data, work, factory: index_work.STEPS[work](data, factory))
    monkeypatch.setattr(bench_index, "RUNS", Path("runs"))
    return bench_index


@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_a_row_is_measured_once_and_told(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []
    step = bench.step

    def counted(data: Path, work: str, factory: str) -> dict[str, object]:
        asked.append(work)
        if work == "choose":
            candidate = {"factory": FACTORY, "recall": 0.9, "latency_ms": 0.5, "bytes": COUNT * 24}
            return {"sample": 99, "candidates": [candidate, {**candidate, "factory": "Flat"}]}
        found: dict[str, object] = step(data, work, factory)
        return found

    monkeypatch.setattr(bench, "step", counted)
    for _ in range(2):
        bench.measure(COUNT, ["SQ8"])
    assert asked == ["choose", "build", "bare", "search"]
    (row,) = bench.Table(bench.RESULTS, bench.RUNS, "").rows
    metrics = row["metrics"]
    assert (row["name"], row["data"], row["estimated"]["recall"]) == (FACTORY, "fashion-mnist with noise, 5,000", 0.9)
    assert {"commit", "machine", "command", "ci", "load", "threads"} <= set(row)
    assert metrics["recall@10"] == metrics["bare_recall@10"] > 0.8  # the same index, by the same codes
    assert metrics["bytes_per_vector"] == pytest.approx(metrics["bare_bytes_per_vector"], rel=0.01)
    for ratio in ("ratio@1", "cpu_ratio@64", "read_ratio@1"):
        low, high = row["ci"][ratio]
        assert 0 < low <= metrics[ratio] <= high
    text = "\n".join(bench.report([row]))
    assert f"| `{FACTORY}` | {metrics['recall@10']:.4f} / {metrics['bare_recall@10']:.4f} |" in text
    assert "`python scripts/bench_index.py --count 5000 --only SQ8`" in text


def test_the_truth_is_exact_and_the_gallery_whole(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / str(COUNT)
    bench.prepare(data, COUNT, bench.load_encoder(""))
    vectors = np.concatenate([shard.vectors for shard in open_shards(data / "embeddings")])
    with np.load(data / "queries.npz") as stored:
        queries, truth = stored["vectors"], stored["truth"]
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert np.array_equal(np.sort(truth, axis=1), np.sort(exact, axis=1))
    source = np.argmax(vectors[:1200:200] @ np.concatenate([unit(600, DIM, 19), unit(600, DIM, 24)]).T, axis=1)
    assert np.array_equal(source, np.arange(0, 1200, 200))  # each near to the vector that it was made of
    bench.step(data, "build", "Flat")
    assert verify_gallery(data / "gallery").rows == COUNT
    assert open_gallery(data / "gallery").items["key"].to_pylist()[:2] == ["00000000", "00000001"]
