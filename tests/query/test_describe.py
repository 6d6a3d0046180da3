from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.images import ImageSet
from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.files import sha256_of
from hetsearch.gallery import build_gallery
from hetsearch.preprocess import InputSpec
from hetsearch.query.describe import describe
from hetsearch.runtime import load_encoder
from hetsearch.space import EmbeddingSpace
from tests.support import SPACE, linear_bundle


def test_a_bundle(tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path / "b", space=SPACE)
    found = describe(bundle)
    assert (found.kind, found.whole) == ("encoder bundle", True)
    assert (found.facts["space"], found.facts["dim"]) == (SPACE, 16)
    assert found.files == {"README.md": "ok", "model.onnx": "ok", "model.safetensors": "ok"}
    assert describe(bundle / "encoder.json") == found
    (bundle / "model.safetensors").unlink()
    assert describe(bundle).files["model.safetensors"] == "left out"
    assert describe(bundle).whole
    (bundle / "model.onnx").write_bytes(b"")
    (bundle / "README.md").unlink()
    assert describe(bundle).files == {
        "README.md": "missing", "model.onnx": "changed", "model.safetensors": "left out"
    }
    assert describe(bundle).as_dict()["whole"] is False


def test_a_space(tmp_path: Path) -> None:
    W = np.eye(2, 4, dtype=np.float32)
    space = EmbeddingSpace.mint({"w": W}, dim=4, input_spec=InputSpec(), classifier=W, classes=["a", "b"])
    space.save(tmp_path / "run" / "space")
    found = describe(tmp_path / "run")
    assert (found.kind, found.facts["space"], found.facts["classes"]) == ("space", space.id, ["a", "b"])
    assert describe(tmp_path / "run" / "space") == found
    (tmp_path / "run" / "space" / "classifier.safetensors").write_bytes(b"x")
    assert describe(tmp_path / "run").files == {"classifier.safetensors": "changed"}


def test_a_gallery(tmp_path: Path) -> None:
    encoder = load_encoder(linear_bundle(tmp_path / "b", space=SPACE))
    images = ImageSet("set", ("a", "b"), lambda row: np.full((5, 5), row, np.uint8))
    build_gallery(encoder, images, tmp_path / "g", progress=False)
    found = describe(tmp_path / "g")
    assert (found.kind, found.whole) == ("gallery", True)
    assert (found.facts["count"], found.facts["images"]) == (2, "set")
    assert set(found.facts["versions"]) <= {"faiss-cpu", "pyarrow", "numpy", "onnxruntime"}
    shard = tmp_path / "g" / "embeddings" / "shard-00000.parquet"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert [name for name, state in describe(tmp_path / "g").files.items() if state != "ok"] == [
        "embeddings/shard-00000.parquet"
    ]
    (tmp_path / "g" / "gallery.json").unlink()
    with pytest.raises(UsageError, match="is not finished"):
        describe(tmp_path / "g")


def test_a_report(tmp_path: Path) -> None:
    matrix = [{"query": "q", "p@1": 0.5}]
    document = {"schema": 1, "data": "set", "n_queries": 3, "matrix": matrix, "other": 1}
    (tmp_path / "report.json").write_text(json.dumps(document))
    found = describe(tmp_path)
    assert (found.kind, found.whole) == ("report", True)
    assert found.facts == {name: document[name] for name in ("data", "n_queries", "matrix")}
    assert describe(tmp_path / "report.json") == found
    for other in ({}, {"matrix": 3}, {"matrix": [1]}):
        (tmp_path / "report.json").write_text(json.dumps(other))
        with pytest.raises(UsageError, match="not an evaluation report"):
            describe(tmp_path)


def test_the_files_beside_a_report(tmp_path: Path) -> None:
    (tmp_path / "matrix.csv").write_text("a\n")
    document = {"matrix": [], "files": {"matrix.csv": sha256_of(tmp_path / "matrix.csv"), "report.html": "0"}}
    (tmp_path / "report.json").write_text(json.dumps(document))
    assert describe(tmp_path).files == {"matrix.csv": "ok", "report.html": "missing"}


def test_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is nothing that hetsearch knows.*gallery\.json"):
        describe(tmp_path)
    with pytest.raises(UsageError, match="there is no"):
        describe(tmp_path / "absent")
    (tmp_path / "photo.png").touch()
    with pytest.raises(UsageError, match="is nothing that hetsearch knows"):
        describe(tmp_path / "photo.png")
    (tmp_path / "encoder.json").write_text("{")
    with pytest.raises(DamagedArtifact, match="cannot be read"):
        describe(tmp_path)
