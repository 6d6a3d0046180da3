from __future__ import annotations

import json
from pathlib import Path

import pytest

from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.files import sha256_of
from hetsearch.gallery.card import GalleryCard, read_card, write_card
from hetsearch.preprocess import InputSpec
from tests.support import SPACE

CARD = GalleryCard(
    space=SPACE, dim=4, encoder="e", input=InputSpec(), store="faiss", factory="Flat", count=3,
    images="set", listing="abc",
)


def test_it_comes_back_with_a_checksum_of_every_file(tmp_path: Path) -> None:
    (tmp_path / "embeddings").mkdir()
    names = ("embeddings/shard-00000.parquet", "index.faiss")
    for name in names:
        (tmp_path / name).write_text(name)
    write_card(tmp_path, CARD)
    files = read_card(tmp_path).files
    assert files == {name: sha256_of(tmp_path / name) for name in names}
    assert read_card(tmp_path).model_copy(update={"files": {}}) == CARD
    document = json.loads((tmp_path / "gallery.json").read_text())
    assert (document["schema"], document["generation"], document["space"]) == (1, 1, SPACE)


def test_no_gallery_an_unfinished_one_or_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a gallery"):
        read_card(tmp_path)
    (tmp_path / "embeddings").mkdir()
    with pytest.raises(UsageError, match=r"is not finished.*index build"):
        read_card(tmp_path)
    damages = {"{": "cannot be read", '{"schema": 9}': "another schema", '{"schema": 1}': "damaged"}
    for text, message in damages.items():
        (tmp_path / "gallery.json").write_text(text)
        with pytest.raises(DamagedArtifact, match=message):
            read_card(tmp_path)


def test_a_card_without_checksums_verifies_nothing(tmp_path: Path) -> None:
    (tmp_path / "index.faiss").write_text("x")
    write_card(tmp_path, CARD)
    document = json.loads((tmp_path / "gallery.json").read_text())
    for wrong in ({}, None):
        (tmp_path / "gallery.json").write_text(json.dumps({**document, "files": wrong}))
        with pytest.raises(DamagedArtifact, match="is damaged: observed"):
            read_card(tmp_path)
