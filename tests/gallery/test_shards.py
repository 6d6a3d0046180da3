from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hetsearch.data.pixels import Failure
from hetsearch.errors import DamagedArtifact, DataError, UsageError
from hetsearch.gallery.ids import stable_ids
from hetsearch.gallery.shards import (
    Manifest,
    Plan,
    Shard,
    read_failures,
    read_manifest,
    read_shard,
    read_shards,
    write_failures,
    write_manifest,
    write_shard,
)
from tests.support import SPACE


def shard_of(count: int, dim: int = 4, start: int = 0) -> Shard:
    vectors = np.random.default_rng(count).normal(size=(count, dim))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    keys = tuple(f"k{start + row}" for row in range(count))
    return Shard(keys, unit, {"label": [f"l{row}" for row in range(count)]})


def test_a_shard_comes_back_bit_for_bit(tmp_path: Path) -> None:
    shard = shard_of(5)
    entry = write_shard(tmp_path, 42, shard)
    assert (entry.file, entry.rows) == ("shard-00042.parquet", 5)
    again = read_shard(tmp_path, entry, 4)
    assert (again.keys, again.attributes) == (shard.keys, shard.attributes)
    assert again.vectors.tobytes() == shard.vectors.tobytes()


def test_the_columns_of_the_contract(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, 0, shard_of(3, dim=2))
    schema = pq.read_schema(tmp_path / entry.file)
    assert schema.names == ["id", "key", "vector", "label"]
    assert [str(kind) for kind in schema.types[:2]] == ["int64", "string"]
    assert schema.field("vector").type.list_size == 2
    assert str(schema.field("vector").type.value_type) == "float"
    assert pq.read_table(tmp_path / entry.file)["id"].to_pylist() == stable_ids(["k0", "k1", "k2"]).tolist()


@pytest.mark.parametrize("place", [100, -100])
def test_a_changed_byte(tmp_path: Path, place: int) -> None:
    entry = write_shard(tmp_path, 0, shard_of(50))
    payload = bytearray((tmp_path / entry.file).read_bytes())
    payload[place] ^= 1
    (tmp_path / entry.file).write_bytes(payload)
    with pytest.raises(DamagedArtifact, match="was changed"):
        read_shard(tmp_path, entry, 4)


def test_another_dimension_or_content(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, 0, shard_of(3))
    with pytest.raises(DamagedArtifact, match="wrong columns"):
        read_shard(tmp_path, entry, 5)
    with pytest.raises(DamagedArtifact, match="not the shard of the manifest"):
        read_shard(tmp_path, entry.model_copy(update={"content": "0" * 64}), 4)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN"), (3.0, "unit length")])
def test_bad_vectors_are_not_written(tmp_path: Path, value: float, message: str) -> None:
    shard = shard_of(3)
    shard.vectors[1, 2] = value
    with pytest.raises(DataError, match=message):
        write_shard(tmp_path, 0, shard)
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_comes_back(tmp_path: Path) -> None:
    entries = [write_shard(tmp_path, number, shard_of(3, start=3 * number)) for number in range(2)]
    plan = Plan(images="set", listing="abc", rows=6, shard_rows=3, batch_size=2)
    manifest = Manifest(
        space=SPACE, encoder="e", dim=4, plan=plan, shards=tuple(entries), failures=0, files={}
    )
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest
    keys = [key for shard in read_shards(tmp_path, manifest) for key in shard.keys]
    assert keys == [f"k{row}" for row in range(6)]


def test_no_manifest_or_another(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder of embeddings"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 2}')
    with pytest.raises(DamagedArtifact, match="another schema"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 1, "dim": 4}')
    with pytest.raises(DamagedArtifact, match=r"is damaged.*space: Field required"):
        read_manifest(tmp_path)


def test_failures_come_back(tmp_path: Path) -> None:
    for failures in ((), (Failure("ä.png", "truncated"), Failure("b.png", "empty"))):
        write_failures(tmp_path, failures)
        assert read_failures(tmp_path) == failures
