from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.errors import DamagedArtifact, SpaceMismatch, UsageError
from hetsearch.gallery import build_gallery, delete_items, open_gallery, update_gallery, verify_gallery
from hetsearch.gallery.jobs import generation as switch
from hetsearch.gallery.stores.milvus_client import Database, connect
from hetsearch.gallery.stores.milvus_collections import Address
from hetsearch.gallery.stores.milvus_index import MilvusIndex
from hetsearch.gallery.stores.milvus_store import VECTOR, MilvusStore
from hetsearch.runtime import OnnxEncoder
from hetsearch.space import Embeddings
from tests.gallery.scripted import Scripted
from tests.support import OTHER_SPACE, SPACE

Fashion = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def some(images: ImageSet) -> ImageSet:
    return images.subset(range(60))


@pytest.fixture
def gallery(encoder: OnnxEncoder, some: ImageSet, address: str, tmp_path: Path) -> Path:
    build_gallery(encoder, some, tmp_path / "g", store="milvus", uri=address, shard_rows=32, progress=False)
    return tmp_path / "g"


@pytest.fixture
def query(encoder: OnnxEncoder, fashion_test: Fashion) -> Embeddings:
    return encoder.encode(fashion_test[0][300:320])


def split(address: str) -> tuple[Database, str]:
    found = Address.parse(address)
    return connect(found.uri), found.name


def index_of(gallery: Path) -> str:
    return str(json.loads((gallery / "gallery.json").read_text())["index"])


def collections(address: str) -> list[str]:
    """Those of one gallery, with an arrow at the one that its alias leads to."""
    database, name = split(address)
    names = [found for found in database.call("list_collections") if found.startswith(f"{name}_")]
    target = database.call("describe_alias", name)["collection_name"]
    return sorted(f"→ {found}" if found == target else found for found in names)


@pytest.mark.parametrize(
    ("text", "uri", "name"),
    [
        ("http://127.0.0.1:19530/fashion", "http://127.0.0.1:19530", "fashion"),
        ("https://milvus.example/shop/fashion_00002/", "https://milvus.example/shop", "fashion_00002"),
        ("milvus-00002.db/gallery_00002", "milvus-00002.db", "gallery_00002"),
    ],
)
def test_an_address(text: str, uri: str, name: str) -> None:
    assert Address.parse(text) == Address(uri, name)
    assert str(Address.parse(text)) == text.rstrip("/")


@pytest.mark.parametrize(
    "text",
    [
        "", "fashion", "http://127.0.0.1:19530", "http://127.0.0.1:19530/", "http://host:port/name",
        "http://host:0/name", "http:///name", "ftp://host/name", "http://host/a name", "http://host/1name",
        "other.db/name", "../milvus.db/name",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="is no address of a gallery in Milvus: expected http://HOST:PORT/NAME"):
        Address.parse(text)


def test_a_key_in_an_address_would_be_written_down() -> None:
    with pytest.raises(UsageError, match=r"with a key in it.*MILVUS_TOKEN") as caught:
        Address.parse("http://root:secret@host:19530/name")
    assert "secret" not in str(caught.value)


def test_a_store_in_the_folder_takes_no_address(encoder: OnnxEncoder, some: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"store lies in the gallery's folder: observed --uri http.*--store milvus"):
        build_gallery(encoder, some, tmp_path / "g", uri="http://127.0.0.1:1/name", progress=False)


def test_a_gallery_is_opened_by_its_name_alone(gallery: Path, address: str, query: Embeddings) -> None:
    here, there = open_gallery(gallery), open_gallery(address)
    assert there.search(query, 10) == here.search(query, 10)
    assert (there.space, there.dim, len(there)) == (SPACE, 16, 60)
    assert there.items.sort_by("id").equals(here.items.sort_by("id"))
    assert there.card.index == here.card.index == f"{address}_00001"
    with pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}"):
        there.search(Embeddings(query.vectors, OTHER_SPACE, query.keys))


def test_a_name_that_is_not_there(address: str) -> None:
    with pytest.raises(UsageError, match=f"there is no gallery '{address.rpartition('/')[2]}' in the Milvus at"):
        open_gallery(address)


def test_the_properties_name_the_space(gallery: Path, address: str) -> None:
    database, name = split(address)
    properties = database.call("describe_collection", name)["properties"]
    assert properties["hetsearch.space"] == SPACE
    card = json.loads(properties["hetsearch.card"])
    assert (card["dim"], card["count"], card["factory"], card["images"]) == (16, 60, "Flat", "slice")


def test_the_parameters_reach_the_index(
    encoder: OnnxEncoder, some: ImageSet, query: Embeddings, address: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    options: dict[str, Any] = {"store": "milvus", "uri": address, "factory": "IVF12,Flat", "progress": False}
    build_gallery(encoder, some, tmp_path / "g", **options)
    database, name = split(address)
    described = database.call("describe_index", name, VECTOR)
    assert (described["index_type"], described["metric_type"]) == ("IVF_FLAT", "IP")
    assert described["params"] == {"nlist": 12}
    few = open_gallery(tmp_path / "g").search(query, 60)
    monkeypatch.setattr(MilvusIndex, "search", lambda self, k: {"nprobe": 12})
    assert max(map(len, few)) < min(map(len, open_gallery(tmp_path / "g").search(query, 60))) == 60


def test_the_alias_moves_and_the_old_collection_goes(
    gallery: Path, address: str, query: Embeddings, encoder: OnnxEncoder, fashion_test: Fashion
) -> None:
    name = address.rpartition("/")[2]
    assert collections(address) == [f"→ {name}_00001"]
    readers = open_gallery(gallery), open_gallery(address)
    more = ImageSet("more", ("a", "b"), ArrayReader(fashion_test[0][400:402]), ("one", "two"))
    update_gallery(gallery, encoder, more, remove=False, progress=False)
    assert collections(address) == [f"→ {name}_00002"]
    assert index_of(gallery) == f"{address}_00002"
    # Their collection is gone: they go on in the one that followed.
    expected = open_gallery(gallery).search(query, 10)
    for reader in readers:
        assert reader.search(query, 10) == expected
        assert (len(reader), reader.card.generation) == (62, 2)


def test_a_reader_whose_gallery_is_gone(gallery: Path, address: str, query: Embeddings) -> None:
    reader = open_gallery(gallery)
    database, name = split(address)
    database.call("drop_alias", name)
    database.call("drop_collection", f"{name}_00001")
    for find in (lambda: reader.search(query, 3), lambda: open_gallery(gallery)):
        with pytest.raises(DamagedArtifact, match=f"there is no collection '{name}_00001'. Build the gallery again"):
            find()


@pytest.mark.parametrize("gone", ["alias", "nothing"])
def test_a_name_that_is_taken_is_refused_before_the_job(
    gallery: Path, address: str, encoder: OnnxEncoder, some: ImageSet, tmp_path: Path, gone: str
) -> None:
    database, name = split(address)
    scripted = Scripted(encoder)
    if gone == "alias":
        # As if a job of somebody else had died before the switch.
        database.call("drop_alias", name)
        job = lambda: build_gallery(  # noqa: E731
            scripted, some.subset(range(9)), tmp_path / "h", store="milvus", uri=address, progress=False
        )
        with pytest.raises(UsageError, match=f"has a collection '{name}_00001' of somebody else"):
            job()
        return
    with pytest.raises(UsageError, match=f"has a '{name}' already"):
        build_gallery(scripted, some, tmp_path / "h", store="milvus", uri=address, progress=False)
    assert (scripted.calls, (tmp_path / "h").exists()) == (0, False)


def test_a_name_like_that_of_a_generation(encoder: OnnxEncoder, some: ImageSet, address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"_00001' ends like a generation of 'test\d+'\. Give the gallery another"):
        build_gallery(encoder, some, tmp_path / "g", store="milvus", uri=f"{address}_00001", progress=False)


def test_a_collection_that_is_not_ours_is_left_alone(
    gallery: Path, address: str, encoder: OnnxEncoder, some: ImageSet
) -> None:
    database, name = split(address)
    pymilvus = pytest.importorskip("pymilvus")
    schema = pymilvus.MilvusClient.create_schema(auto_id=False)
    schema.add_field("id", pymilvus.DataType.INT64, is_primary=True)
    schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=4)
    for other in (f"{name}_00002", f"{name}_00077"):
        database.call("create_collection", other, schema=schema)
    with pytest.raises(DamagedArtifact, match=f"collection '{name}_00077' is not a gallery: .*no properties of ours"):
        open_gallery(f"{address}_00077")
    with pytest.raises(UsageError, match=f"has a collection '{name}_00002' of somebody else"):
        delete_items(gallery, some.keys[:3])
    database.call("drop_collection", f"{name}_00002")
    assert delete_items(gallery, some.keys[:3]).rows == 57
    assert collections(address) == [f"{name}_00077", f"→ {name}_00002"]


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("space", SpaceMismatch, "the gallery and its collection .* belong to different spaces: observed sp_"),
        ("dim", DamagedArtifact, "has another dimension: observed 8, expected 16"),
        ("count", DamagedArtifact, "observed 59 vectors, 60 items, expected 60 of both"),
    ],
)
def test_another_gallery_under_the_same_name(
    gallery: Path, address: str, some: ImageSet, what: str, error: type[Exception], message: str
) -> None:
    database, name = split(address)
    card = open_gallery(gallery).card
    if what == "count":
        load = MilvusStore.open(database, f"{name}_00001", card)
        load.remove(open_gallery(gallery).items["id"].to_numpy()[:1])
    else:
        database.call("drop_collection", f"{name}_00001")
        other = {"space": {"space": OTHER_SPACE}, "dim": {"dim": 8}}[what]
        MilvusStore.create(database, f"{name}_00001", card.model_copy(update=other)).save()
    with pytest.raises(error, match=message):
        open_gallery(gallery)


def test_a_row_that_was_changed_is_found(gallery: Path, address: str) -> None:
    database, name = split(address)
    row = database.call("query", name, filter="", limit=1, output_fields=["*"])[0]
    assert verify_gallery(gallery).rows == 60
    database.call("upsert", name, [{**row, "label": "another"}])
    with pytest.raises(DamagedArtifact, match=r"does not hold the rows of its shards: .*60 rows.*--rebuild"):
        verify_gallery(gallery)


def test_update_rebuild_makes_a_damaged_database_anew(
    gallery: Path, address: str, encoder: OnnxEncoder, some: ImageSet, query: Embeddings
) -> None:
    before = open_gallery(gallery).search(query, 5)
    database, name = split(address)
    database.call("drop_alias", name)
    database.call("drop_collection", f"{name}_00001")
    scripted = Scripted(encoder)
    assert update_gallery(gallery, scripted, some, rebuild=True, progress=False).rows == 60
    assert scripted.calls == 0
    assert open_gallery(address).search(query, 5) == before


def test_a_job_that_is_killed_right_after_the_switch_is_finished_by_the_next(
    encoder: OnnxEncoder, some: ImageSet, query: Embeddings, address: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def killed(out: Path) -> None:
        if (out / "gallery.json").exists():
            raise KeyboardInterrupt

    options: dict[str, Any] = {"store": "milvus", "uri": address, "progress": False}
    with monkeypatch.context() as patch:
        patch.setattr(switch, "settle", killed)
        with pytest.raises(KeyboardInterrupt):
            build_gallery(encoder, some, tmp_path / "g", **options)
    here = open_gallery(tmp_path / "g")
    with pytest.raises(UsageError, match="there is no gallery"):
        open_gallery(address)
    assert build_gallery(encoder, some, tmp_path / "g", **options).done_before
    before = open_gallery(address).search(query, 5)
    assert here.search(query, 5) == before
    with monkeypatch.context() as patch:
        patch.setattr(switch, "settle", killed)
        # Of this module's name for it, which starts the job, the real one is used.
        with pytest.raises(KeyboardInterrupt):
            delete_items(tmp_path / "g", some.keys[:5])
    # The folder's readers are in the new generation, those of the name still in the old one.
    assert (len(open_gallery(tmp_path / "g")), len(open_gallery(address))) == (55, 60)
    assert delete_items(tmp_path / "g", ["unknown"]).nothing
    assert len(open_gallery(address)) == 55
    assert collections(address) == [f"→ {address.rpartition('/')[2]}_00002"]


def test_an_upsert_that_fails_in_passing_leaves_no_row_twice(
    encoder: OnnxEncoder, some: ImageSet, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pymilvus = pytest.importorskip("pymilvus")
    upsert, calls = pymilvus.MilvusClient.upsert, []

    def flaky(self: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        upsert(self, *arguments, **options)
        if len(calls) % 2:
            raise pymilvus.MilvusException(code=2, message="the answer was lost")

    monkeypatch.setattr(pymilvus.MilvusClient, "upsert", flaky)
    monkeypatch.setattr("hetsearch.gallery.stores.milvus_client.PAUSES", (0.0,))
    build_gallery(
        encoder, some, tmp_path / "g", store="milvus", uri=address, shard_rows=32, progress=False
    )
    assert len(calls) == 4
    assert verify_gallery(tmp_path / "g").rows == 60


def test_a_copy_of_a_folder_with_its_database(
    encoder: OnnxEncoder, some: ImageSet, query: Embeddings, tmp_path: Path
) -> None:
    pytest.importorskip("milvus_lite")
    build_gallery(encoder, some, tmp_path / "g", store="milvus", progress=False)
    assert index_of(tmp_path / "g") == "milvus.db/gallery_00001"
    shutil.move(tmp_path / "g", tmp_path / "h")
    assert len(open_gallery(tmp_path / "h").search(query, 3)) == 20
    assert delete_items(tmp_path / "h", some.keys[:5]).rows == 55
    assert sorted(path.name for path in (tmp_path / "h").iterdir()) == [
        "embeddings", "gallery.json", "items-00002.parquet", "milvus-00002.db",
    ]  # fmt: skip
    shutil.rmtree(tmp_path / "h" / "milvus-00002.db")
    with pytest.raises(DamagedArtifact, match=r"'.*h' is not whole: observed no milvus-00002\.db"):
        open_gallery(tmp_path / "h")
