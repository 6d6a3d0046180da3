from __future__ import annotations

import errno
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.sources import open_source
from hetsearch.errors import SpaceMismatch, UsageError
from hetsearch.gallery import build_gallery, delete_items
from hetsearch.gallery.card import Superseded, read_card, write_card
from hetsearch.gallery.stores.milvus_client import Unreachable
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.service.collection import Collection
from hetsearch.service.errors import Refusal
from hetsearch.service.settings import Settings
from hetsearch.service.thumbnails import thumbnail
from tests.service.serving import problem, serving
from tests.support import OTHER_SPACE, SPACE, linear_bundle


@pytest.fixture
def copy(gallery: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(gallery, tmp_path / "copy"))


def test_a_new_generation_is_opened_and_the_old_one_goes_on_for_who_has_it(copy: Path, encoder: OnnxEncoder) -> None:
    collection = Collection(str(copy), SPACE)
    old = collection.gallery
    assert not collection.refresh()
    assert collection.gallery is old
    delete_items(copy, ["class-1/000.png"])
    assert collection.refresh()
    assert (collection.generation, len(collection.gallery), len(old)) == (2, 199, 200)
    assert len(old.search(encoder.encode(np.zeros((9, 9), np.uint8)), 200)[0]) == 200
    assert not collection.refresh()


def test_a_new_gallery_that_cannot_be_used_leaves_the_old_one(
    copy: Path, tmp_path: Path, fashion_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collection = Collection(str(copy), SPACE)
    old = collection.gallery
    other = load_encoder(linear_bundle(tmp_path / "other", space=OTHER_SPACE))
    shutil.rmtree(copy)
    build_gallery(other, open_source(str(fashion_folder)), copy, limit=5, progress=False)
    with caplog.at_level(logging.ERROR, logger="hetsearch.service"):
        assert not collection.refresh()
    assert OTHER_SPACE in caplog.records[0].reason
    (copy / "gallery.json").write_text("{")
    assert not collection.refresh()
    (copy / "gallery.json").unlink()
    assert not collection.refresh()
    assert collection.gallery is old


def test_a_gallery_that_the_machine_cannot_open_now_is_opened_later(
    copy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collection = Collection(str(copy), SPACE)
    delete_items(copy, ["class-1/000.png"])

    def full() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, logger="hetsearch.service"):
        patch.setattr(collection, "_open", full)
        assert not collection.refresh()
    assert "Too many open files" in caplog.records[0].reason
    assert collection.generation == 1
    assert collection.refresh()
    assert collection.generation == 2


def test_a_gallery_of_another_space_or_none(gallery: Path, tmp_path: Path) -> None:
    with pytest.raises(SpaceMismatch, match=f"{OTHER_SPACE}.*{SPACE}|{SPACE}.*{OTHER_SPACE}"):
        Collection(str(gallery), OTHER_SPACE)
    with pytest.raises(UsageError, match="not a gallery"):
        Collection(str(tmp_path / "nothing"), SPACE)


def test_a_running_service_takes_up_a_new_generation(copy: Path, settings: Settings) -> None:
    with serving(settings.model_copy(update={"gallery": str(copy), "reload_seconds": 0.01})) as service:
        assert service.http.get("/health").json()["generation"] == 1
        delete_items(copy, ["class-1/000.png", "class-2/000.png"])
        for _ in range(100_000):
            if (health := service.http.get("/health").json())["generation"] == 2:
                break
        assert health["items"] == 198
        vector = {"vector": [1.0] + [0.0] * 15, "space": SPACE, "k": 5}
        assert service.http.post("/v1/search", json=vector).json()["generation"] == 2


def test_a_gallery_on_a_database_server(
    tmp_path: Path,
    encoder: OnnxEncoder,
    settings: Settings,
    fashion_folder: Path,
    milvus_server: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = f"{milvus_server}/served"
    images = open_source(str(fashion_folder))
    build_gallery(encoder, images, tmp_path / "g", limit=20, store="milvus", uri=address, progress=False)
    question = {"vector": encoder.encode(images.read(3)).vectors[0].tolist(), "space": SPACE, "k": 5}
    with serving(settings.model_copy(update={"gallery": address})) as service:
        found = service.http.post("/v1/search", json={**question, "filter": {"key": list(images.keys[2:9])}}).json()
        assert found["hits"][0]["key"] == images.keys[3]
        assert {hit["key"] for hit in found["hits"]} <= set(images.keys[2:9])
        assert service.http.get(found["hits"][0]["image"]).status_code == 200
        assert service.http.get("/health").json()["items"] == 20

        def unreachable(*anything: object) -> None:
            raise Unreachable("the Milvus at 10.0.0.7:19530 does not answer")

        monkeypatch.setattr(service.engine.collection.gallery._store, "search", unreachable)
        answer = service.http.post("/v1/search", json=question)
        assert problem(answer) == (503, "gallery_unreachable")
        assert "10.0.0.7" not in answer.text


def test_a_gallery_that_is_gone_is_no_fault_of_who_searches(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(*anything: object) -> None:
        raise Superseded("there is no collection 'shop_1'")

    def nowhere() -> None:
        raise UsageError("there is no gallery 'shop' in the Milvus at 'http://10.0.0.7:19530'")

    with serving(settings) as service:
        gallery = service.engine.collection.gallery
        monkeypatch.setattr(gallery._store, "search", gone)
        monkeypatch.setattr(gallery, "_again", nowhere)
        answer = service.http.post("/v1/search", json={"vector": [1.0] + [0.0] * 15, "space": SPACE})
        assert problem(answer) == (500, "internal_error")
        assert "10.0.0.7" not in answer.text
    assert "the gallery is gone since it was opened" in caplog.text


def test_pictures_of_a_named_set(
    tmp_path: Path, encoder: OnnxEncoder, monkeypatch: pytest.MonkeyPatch, fashion_test: tuple[np.ndarray, np.ndarray]
) -> None:
    """Items of a named set have no file; they are read from the set, here from a small one under its name."""
    from hetsearch.service import collection as module

    folder = tmp_path / "images"
    images = open_source(str(fashion_folder_of(folder, fashion_test)))
    build_gallery(encoder, images, tmp_path / "g", progress=False)
    write_card(tmp_path / "g", read_card(tmp_path / "g").model_copy(update={"images": "fashion-mnist:test"}))
    opened = Collection(str(tmp_path / "g"), SPACE)
    opened.gallery._items.table = opened.gallery.items.drop_columns(["path"])
    assert opened.has_pictures
    module._named_set.cache_clear()
    monkeypatch.setattr(module, "open_source", lambda source: images if source == "fashion-mnist:test" else None)
    key = images.keys[1]
    assert opened.picture(key) == images.read(1)
    assert thumbnail(opened, key, 10).media_type == "image/png"
    module._named_set.cache_clear()
    monkeypatch.setattr(module, "open_source", raising)
    assert opened.picture(key) is None
    with pytest.raises(Refusal, match="not known here"):
        thumbnail(opened, key, 10)
    opened.gallery.card = opened.gallery.card.model_copy(update={"images": "/srv/pictures"})
    assert not opened.has_pictures
    assert opened.picture(key) is None


def raising(source: str) -> None:
    raise UsageError(f"'{source}' is not on this machine")


def fashion_folder_of(folder: Path, labelled: tuple[np.ndarray, np.ndarray]) -> Path:
    from PIL import Image

    folder.mkdir()
    for number in range(4):
        Image.fromarray(labelled[0][number]).save(folder / f"{number}.png")
    return folder
