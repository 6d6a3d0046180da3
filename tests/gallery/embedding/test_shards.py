from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hetsearch.data.pixels import Failure
from hetsearch.errors import DamagedArtifact, DataError
from hetsearch.gallery.embedding.shards import Shard, open_shards, read_shard, recover_shard, write_shard
from hetsearch.gallery.ids import stable_ids
from hetsearch.gallery.manifest import Manifest, Plan, write_manifest
from hetsearch.gallery.omitted import write_tombstones
from tests.support import SPACE


def shard_of(count: int, dim: int = 4, start: int = 0) -> Shard:
    vectors = np.random.default_rng(count).normal(size=(count, dim))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    keys = tuple(f"k{start + row}" for row in range(count))
    contents = np.random.default_rng(count + start).integers(0, 256, (count, 32), dtype=np.uint8)
    return Shard(keys, unit, {"label": [f"l{row}" for row in range(count)]}, contents)


def test_a_shard_comes_back_bit_for_bit(tmp_path: Path) -> None:
    shard = shard_of(5)
    entry = write_shard(tmp_path, 42, shard)
    assert (entry.file, entry.rows) == ("shard-00042.parquet", 5)
    again = read_shard(tmp_path, entry, 4)
    assert (again.keys, again.attributes) == (shard.keys, shard.attributes)
    assert again.vectors.tobytes() == shard.vectors.tobytes()
    assert again.contents.tobytes() == shard.contents.tobytes()


def test_the_columns_of_the_contract(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, 0, shard_of(3, dim=2))
    schema = pq.read_schema(tmp_path / entry.file)
    assert schema.names == ["id", "key", "vector", "label", "content"]
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


def test_a_shard_says_for_which_job_it_was_made(tmp_path: Path) -> None:
    failures = (Failure("ä.png", "truncated"),)
    entry = write_shard(tmp_path, 3, shard_of(5), "job", failures)
    assert recover_shard(tmp_path, 3, "job", 4) == (entry, failures)
    assert recover_shard(tmp_path, 4, "job", 4) is None
    with pytest.raises(DamagedArtifact, match="a shard of another job"):
        recover_shard(tmp_path, 3, "another", 4)
    payload = (tmp_path / entry.file).read_bytes()
    for place in range(100, len(payload), len(payload) // 20):
        (tmp_path / entry.file).write_bytes(payload[:place] + bytes([payload[place] ^ 1]) + payload[place + 1 :])
        with pytest.raises(DamagedArtifact):
            read_shard(tmp_path, entry, 4)
    (tmp_path / entry.file).write_bytes(payload[:-40])
    with pytest.raises(DamagedArtifact, match="a footer that cannot be read"):
        recover_shard(tmp_path, 3, "job", 4)


def test_a_shard_without_rows(tmp_path: Path) -> None:
    entry = write_shard(tmp_path, 0, shard_of(5).take([]), "job", (Failure("a", "empty"),))
    assert entry.rows == 0
    assert recover_shard(tmp_path, 0, "job", 4) == (entry, (Failure("a", "empty"),))


def test_dead_rows_do_not_count(tmp_path: Path) -> None:
    shards = [shard_of(3, start=3 * number) for number in range(3)]
    entries = [write_shard(tmp_path, number, shard) for number, shard in enumerate(shards)]
    plan = Plan(listing="abc", rows=9, shard_rows=3, batch_size=2, weights="w")
    dead = {entries[0].file: np.array([0, 2]), entries[2].file: np.array([1])}
    name = write_tombstones(tmp_path, dead, 2)
    assert name == "tombstones-00002.parquet"
    manifest = Manifest(
        space=SPACE, encoder="e", dim=4, images="set", plan=plan, shards=tuple(entries), dead=3, files={name: "00"}
    )
    write_manifest(tmp_path, manifest, 2)
    opened = open_shards(tmp_path, 2)
    assert opened.manifest.rows == 6
    keys = ["k1", "k3", "k4", "k5", "k6", "k8"]
    assert [key for shard in opened for key in shard.keys] == keys
    assert [key for _, _, shard in opened.described() for key in shard.keys] == keys
    assert [rows.tolist() for _, rows, _ in opened.described()] == [[1], [0, 1, 2], [0, 2]]
    everything = np.concatenate([shard.vectors for shard in shards])
    assert np.array_equal(np.concatenate([shard.vectors for shard in opened]), everything[[1, 3, 4, 5, 6, 8]])
