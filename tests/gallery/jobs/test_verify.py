from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.images import ImageSet
from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.gallery import build_gallery, delete_items, open_gallery, update_gallery, verify_gallery
from hetsearch.gallery.ids import stable_ids
from hetsearch.gallery.jobs import verify as module
from hetsearch.gallery.stores.faiss_store import FaissStore
from hetsearch.runtime import OnnxEncoder
from tests.gallery.scripted import reseal
from tests.support import OTHER_SPACE, SPACE


def test_a_whole_gallery(built: Path) -> None:
    report = verify_gallery(built)
    assert (report.space, report.rows, report.files) == (SPACE, 300, 7)
    assert (report.sample, report.failures) == (100, 0)
    assert (report.self_recall, report.recall) == (1.0, 1.0)
    assert json.loads(json.dumps(report.as_dict()))["recall"] == 1.0


def test_a_changed_byte_in_any_file(encoder: OnnxEncoder, images: ImageSet, copy: Path) -> None:
    listed = images.subset(range(20, 300))
    keys, labels = (*listed.keys, "bad"), (*listed.labels, "a")
    broken = ImageSet("more", keys, lambda row: b"" if row == 280 else listed.read(row), labels)
    update_gallery(copy, encoder, broken, progress=False)  # so that there are failures, tombstones and a generation
    rng = np.random.default_rng(0)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    assert len(files) == 9
    for path in files:
        payload = path.read_bytes()
        for place in (0, len(payload) // 2, len(payload) - 2, *rng.integers(len(payload), size=3)):
            changed = bytearray(payload)
            changed[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(changed)
            with pytest.raises(DamagedArtifact, match=re.escape(f"{path.relative_to(copy)}'")):
                verify_gallery(copy)
        path.write_bytes(payload)
    assert verify_gallery(copy).rows == 280


def test_a_changed_byte_in_any_file_of_a_database(encoder: OnnxEncoder, sixty: ImageSet, tmp_path: Path) -> None:
    pytest.importorskip("milvus_lite")
    gallery = tmp_path / "gallery"
    build_gallery(encoder, sixty, gallery, store="milvus", progress=False)
    delete_items(gallery, sixty.keys[:1])
    files = [path for path in sorted(gallery.glob("milvus*/**/*")) if path.is_file() and path.stat().st_size]
    assert any(path.suffix == ".idx" for path in files)
    for path in files:
        payload = path.read_bytes()
        path.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
        with pytest.raises(DamagedArtifact, match=f"{re.escape(path.name)}' was changed after it was written"):
            verify_gallery(gallery)
        with pytest.raises(DamagedArtifact, match=f"{re.escape(path.name)}' was changed after it was written"):
            open_gallery(gallery)
        path.write_bytes(payload)
    # Whoever opens it changes nothing in it.
    for _ in range(2):
        assert len(open_gallery(gallery)) == verify_gallery(gallery).rows == 59


@pytest.mark.parametrize("job", ["update", "describe", "delete"])
def test_no_job_gives_a_new_checksum_to_what_was_changed(
    encoder: OnnxEncoder, images: ImageSet, copy: Path, job: str
) -> None:
    jobs = {
        "update": lambda: update_gallery(copy, encoder, images.subset(range(250)), progress=False),
        "describe": lambda: update_gallery(copy, encoder, replace(images, labels=("another",) * 300), progress=False),
        "delete": lambda: delete_items(copy, images.keys[:1]),
    }
    names = ["index.faiss", "embeddings/manifest.json", "embeddings/failures.parquet"]
    for name in names:
        payload = bytearray((copy / name).read_bytes())
        payload[-20] ^= 1
        (copy / name).write_bytes(payload)
        with pytest.raises(DamagedArtifact, match=f"{name}'"):
            jobs[job]()
        with pytest.raises(DamagedArtifact, match=f"{name}'"):
            verify_gallery(copy)
        payload[-20] ^= 1
        (copy / name).write_bytes(payload)


def test_a_switch_in_the_middle_is_no_damage(
    encoder: OnnxEncoder, images: ImageSet, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recalls, calls = module._recalls, []

    def late(*arguments: object) -> tuple[float, float]:
        calls.append(1)
        if len(calls) == 1:
            update_gallery(copy, encoder, images.subset(range(100)), progress=False)
        return recalls(*arguments)

    monkeypatch.setattr(module, "_recalls", late)
    assert verify_gallery(copy).rows == 100
    assert len(calls) == 2


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
