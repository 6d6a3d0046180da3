from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.images import ImageSet
from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.files import sha256_of
from hetsearch.gallery import build_gallery, verify_gallery
from hetsearch.gallery.faiss_store import FaissStore
from hetsearch.gallery.ids import stable_ids
from hetsearch.runtime import OnnxEncoder
from tests.support import OTHER_SPACE, SPACE


def reseal(folder: Path) -> None:
    path = folder / "gallery.json"
    document = json.loads(path.read_text())
    document["files"] = {name: sha256_of(folder / name) for name in document["files"]}
    document["sizes"] = {name: (folder / name).stat().st_size for name in document["sizes"]}
    path.write_text(json.dumps(document))


def test_a_whole_gallery(built: Path) -> None:
    report = verify_gallery(built)
    assert (report.space, report.rows, report.files) == (SPACE, 300, 7)
    assert (report.sample, report.failures) == (100, 0)
    assert (report.self_recall, report.recall) == (1.0, 1.0)
    assert json.loads(json.dumps(report.as_dict()))["recall"] == 1.0


@pytest.mark.parametrize(
    "name",
    [
        "index.faiss", "items.parquet", "embeddings/shard-00001.parquet", "embeddings/manifest.json",
        "embeddings/failures.parquet",
    ],
)
def test_a_changed_byte_anywhere(copy: Path, name: str) -> None:
    payload = bytearray((copy / name).read_bytes())
    payload[len(payload) // 2] ^= 1
    (copy / name).write_bytes(payload)
    with pytest.raises(DamagedArtifact, match=f"{name}' was changed"):
        verify_gallery(copy)


def test_a_lost_shard(copy: Path) -> None:
    (copy / "embeddings" / "shard-00002.parquet").unlink()
    with pytest.raises(DamagedArtifact, match=r"no embeddings/shard-00002\.parquet"):
        verify_gallery(copy)


@pytest.mark.parametrize(("field", "value"), [("space", OTHER_SPACE), ("dim", 8), ("shards", [])])
def test_shards_of_something_else(copy: Path, field: str, value: object) -> None:
    path = copy / "embeddings" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    reseal(copy)
    name = "rows" if field == "shards" else field
    with pytest.raises(DamagedArtifact, match=f"disagree about '{name}'"):
        verify_gallery(copy)


def test_an_index_of_other_vectors(copy: Path, images: ImageSet) -> None:
    store = FaissStore.create(16, "Flat", 300)
    vectors = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    store.add(stable_ids(images.keys), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    store.save(copy / "index.faiss")
    reseal(copy)
    with pytest.raises(DamagedArtifact, match="does not find the vectors of its shards"):
        verify_gallery(copy)


def test_an_approximate_index_is_measured(encoder: OnnxEncoder, images: ImageSet, tmp_path: Path) -> None:
    build_gallery(encoder, images, tmp_path / "g", factory="IVF7,Flat", progress=False)
    report = verify_gallery(tmp_path / "g")
    assert report.self_recall == 1.0
    assert 0.3 < report.recall < 1.0


def test_a_tiny_gallery_of_equal_pictures(encoder: OnnxEncoder, tmp_path: Path) -> None:
    same = ImageSet("same", ("a", "b", "c"), lambda row: np.full((5, 5), 7, np.uint8))
    build_gallery(encoder, same, tmp_path / "g", shard_rows=2, progress=False)
    report = verify_gallery(tmp_path / "g")
    assert (report.sample, report.self_recall, report.recall) == (3, 1.0, 1.0)


def test_no_gallery(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a gallery"):
        verify_gallery(tmp_path)
