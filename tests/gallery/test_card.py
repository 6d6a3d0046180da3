from __future__ import annotations

import json
from pathlib import Path

import pytest

from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.gallery.card import GalleryCard, in_one_generation, read_card, write_card
from hetsearch.preprocess import InputSpec
from tests.support import SPACE

CARD = GalleryCard(
    space=SPACE, dim=4, encoder="e", input=InputSpec(), store="faiss", factory="Flat", count=3,
    images="set", listing="abc", index="index.faiss", files={"index.faiss": "00"}, sizes={"index.faiss": 5},
)


def test_it_comes_back(tmp_path: Path) -> None:
    write_card(tmp_path, CARD)
    assert read_card(tmp_path) == CARD
    document = json.loads((tmp_path / "gallery.json").read_text())
    assert (document["schema"], document["generation"], document["space"]) == (3, 1, SPACE)


def test_the_files_of_a_generation_have_names_of_their_own() -> None:
    assert CARD.items == "items.parquet"
    assert CARD.model_copy(update={"generation": 7}).items == "items-00007.parquet"


def test_a_gallery_of_an_older_hetsearch(tmp_path: Path) -> None:
    (tmp_path / "gallery.json").write_text('{"schema": 1, "space": "sp_1"}')
    with pytest.raises(DamagedArtifact, match=r"another schema: observed 1, expected 3\. An older hetsearch.*again"):
        read_card(tmp_path)


def test_no_gallery_an_unfinished_one_or_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a gallery"):
        read_card(tmp_path)
    (tmp_path / "embeddings").mkdir()
    with pytest.raises(UsageError, match=r"is not finished.*index build"):
        read_card(tmp_path)
    damages = {
        "{": "cannot be read", '{"schema": 9}': "another schema: .*Update hetsearch", '{"schema": 3}': "was changed"
    }  # fmt: skip
    for text, message in damages.items():
        (tmp_path / "gallery.json").write_text(text)
        with pytest.raises(DamagedArtifact, match=message):
            read_card(tmp_path)


def test_a_changed_byte_anywhere_in_the_card(tmp_path: Path) -> None:
    write_card(tmp_path, CARD)
    path = tmp_path / "gallery.json"
    payload = path.read_bytes()
    for place in range(len(payload)):
        path.write_bytes(payload[:place] + bytes([payload[place] ^ 1]) + payload[place + 1 :])
        with pytest.raises(DamagedArtifact, match=r"gallery\.json'"):
            read_card(tmp_path)
    # One kind of blank for another means the same to a reader of JSON.
    for changed in (payload[:-1], payload.replace(b" ", b"\t", 1), payload.replace(b"\n", b"\r", 1)):
        path.write_bytes(changed)
        with pytest.raises(DamagedArtifact, match=r"gallery\.json' was changed after it was written"):
            read_card(tmp_path)


def test_a_reader_follows_the_switch_and_no_more(tmp_path: Path) -> None:
    write_card(tmp_path, CARD)
    seen: list[int] = []

    def read(card: GalleryCard) -> int:
        seen.append(card.generation)
        if card.generation < 3:
            write_card(tmp_path, card.model_copy(update={"generation": card.generation + 1}))
            raise FileNotFoundError("removed by the job that switched")
        return card.generation

    assert in_one_generation(tmp_path, read) == 3
    assert seen == [1, 2, 3]

    def damaged(card: GalleryCard) -> None:
        raise DamagedArtifact("really")

    with pytest.raises(DamagedArtifact, match="really"):
        in_one_generation(tmp_path, damaged)
