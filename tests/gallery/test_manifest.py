from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.gallery import manifest as module
from hetsearch.gallery.manifest import Manifest, Plan, ShardEntry, read_manifest, weights_of, write_manifest
from hetsearch.runtime import load_encoder
from tests.support import SPACE, linear_bundle

PLAN = Plan(listing="abc", rows=10, shard_rows=4, batch_size=2, weights="w", first=5)
ENTRY = ShardEntry(file="shard-00005.parquet", rows=4, content="c", sha256="s")
MANIFEST = Manifest(space=SPACE, encoder="e", dim=4, images="set", plan=PLAN, shards=(ENTRY,))


@pytest.mark.parametrize("generation", [1, 2])
def test_the_manifest_comes_back(tmp_path: Path, generation: int) -> None:
    write_manifest(tmp_path, MANIFEST, generation)
    assert read_manifest(tmp_path, generation) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json" if generation == 1 else "manifest-00002.json"]


def test_no_manifest_or_another(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder of embeddings"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 1}')
    with pytest.raises(DamagedArtifact, match=r"another schema.*An older hetsearch"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"schema": 2, "dim": 4}')
    with pytest.raises(DamagedArtifact, match=r"is damaged.*space: Field required"):
        read_manifest(tmp_path)


def test_the_shards_follow_from_the_plan() -> None:
    assert PLAN.shards == 3
    assert [PLAN.covered(number) for number in (5, 6, 7)] == [range(4), range(4, 8), range(8, 10)]
    assert Plan(listing="", rows=0, shard_rows=4, batch_size=2, weights="w").shards == 0


def test_a_job_is_another_where_its_vectors_would_be() -> None:
    same = MANIFEST.model_copy(update={"images": "./set", "encoder": "renamed", "shards": ()})
    assert same.job == MANIFEST.job
    for change in ({"space": "sp_2"}, {"dim": 8}, {"plan": PLAN.model_copy(update={"weights": "v"})}):
        assert MANIFEST.model_copy(update=change).job != MANIFEST.job


def test_the_weights_of_an_encoder_are_its_file(tmp_path: Path) -> None:
    first, again = (load_encoder(linear_bundle(tmp_path / name, space=SPACE)) for name in ("a", "b"))
    other = load_encoder(linear_bundle(tmp_path / "c", space=SPACE, seed=1))
    assert weights_of(first) == weights_of(again) != weights_of(other)


def test_names() -> None:
    assert doctest.testmod(module).failed == 0
