from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.errors import DamagedArtifact, GateNotMet, SpaceMismatch, UsageError
from hetsearch.gallery import (
    UpgradeReport,
    backfill_gallery,
    build_gallery,
    commit_upgrade,
    compact_gallery,
    delete_items,
    open_gallery,
    rollback_upgrade,
    update_gallery,
    upgrade_gallery,
    verify_gallery,
)
from hetsearch.gallery.card import read_card, write_card
from hetsearch.gallery.embedding.shards import open_shards
from hetsearch.gallery.embeddings import load_embeddings
from hetsearch.gallery.jobs import generation as switch
from hetsearch.runtime import load_encoder
from hetsearch.space import EmbeddingSpace
from tests.gallery.scripted import Scripted, reseal, snapshot
from tests.pair import BETTER, RECORD, Pair
from tests.support import OTHER_SPACE, SPACE, linear_bundle

THIRD_SPACE = "sp_1234123412341234"


@pytest.fixture
def gallery(pair: Pair, sixty: ImageSet, tmp_path: Path) -> Path:
    build_gallery(pair.old, sixty, tmp_path / "g", shard_rows=16, progress=False)
    return tmp_path / "g"


def fill(gallery: Path, pair: Pair, images: ImageSet, share: float = 1.0) -> UpgradeReport:
    return backfill_gallery(gallery, pair.new, images, share=share, step=20, progress=False)


def vectors_of(gallery: Path) -> dict[str, tuple[str, np.ndarray]]:
    """Space and vector of every item, from the shards alone."""
    generation = json.loads((gallery / "gallery.json").read_text())["generation"]
    shards = open_shards(gallery / "embeddings", generation)
    found = {}
    for entry in shards.manifest.shards:
        for shard in shards.of([entry]):
            space = shards.manifest.space_of(entry)
            found.update({key: (space, row) for key, row in zip(shard.keys, shard.vectors, strict=True)})
    return found


def spaces_of(gallery: Path) -> dict[str, str]:
    """Space of every item, from the table of items."""
    items = open_gallery(gallery).items.to_pydict()
    return dict(zip(items["key"], items["space"], strict=True))


def test_the_new_encoder_is_in_front_and_no_vector_changes(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    before, held = snapshot(gallery), vectors_of(gallery)
    report = upgrade_gallery(gallery, pair.new, pair.after)
    assert (report.space, report.former, report.generation, report.rows) == (OTHER_SPACE, SPACE, 2, 60)
    assert (report.spaces, report.share, report.exit_code) == ({OTHER_SPACE: 0, SPACE: 60}, 0.0, 0)
    assert report.declared == {SPACE: RECORD}
    assert json.loads(json.dumps(report.as_dict()))["share"] == 0.0
    after = snapshot(gallery)
    same = [name for name in before if "shard" in name or name == "index.faiss"]
    assert [after[name] for name in same] == [before[name] for name in same]
    card = json.loads((gallery / "gallery.json").read_text())
    assert (card["space"], card["index"], card["spaces"]) == (OTHER_SPACE, "index.faiss", report.spaces)
    assert sorted(after) == sorted([*card["files"], "gallery.json"])
    # New queries are searched among the older vectors: what brute force says of these.
    opened = open_gallery(gallery)
    query = pair.new.encode([sixty.read(row) for row in range(5)])
    keys, rows = list(held), np.stack([row for _, row in held.values()]).astype(np.float64)
    for hits, scores in zip(opened.search(query, 7), query.vectors.astype(np.float64) @ rows.T, strict=True):
        best = sorted(range(60), key=lambda row: (-round(scores[row], 9), keys[row]))[:7]
        assert [hit.key for hit in hits] == [keys[row] for row in best]
        assert {hit.item["space"] for hit in hits} == {SPACE}
    verified = verify_gallery(gallery)
    assert (verified.space, verified.spaces, verified.self_recall) == (OTHER_SPACE, report.spaces, 1.0)


def test_the_same_upgrade_again_is_nothing_to_do(pair: Pair, gallery: Path) -> None:
    upgrade_gallery(gallery, pair.new, pair.after)
    before = snapshot(gallery)
    assert upgrade_gallery(gallery, pair.new, pair.after).nothing
    assert snapshot(gallery) == before


def test_another_network_of_the_space_is_no_upgrade(pair: Pair, gallery: Path, tmp_path: Path) -> None:
    before = snapshot(gallery)
    other = load_encoder(linear_bundle(tmp_path / "blended", space=SPACE, seed=4))
    with pytest.warns(UserWarning, match="'blended' is another .* nothing to upgrade by declaration.*index build"):
        assert upgrade_gallery(gallery, other, pair.before).nothing
    assert snapshot(gallery) == before


def test_older_queries_and_vectors_are_refused_from_the_switch_on(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    query = pair.old.encode([sixty.read(0)])
    open_gallery(gallery).search(query, 1)
    upgrade_gallery(gallery, pair.new, pair.after)
    for share in (0.0, 1.0):
        if share:
            fill(gallery, pair, sixty)
        with pytest.raises(SpaceMismatch, match=f"observed {SPACE}, which the gallery was upgraded from.*--rollback"):
            open_gallery(gallery).search(query, 1)
        with pytest.raises(SpaceMismatch, match=f"observed {SPACE}, expected {OTHER_SPACE}"):
            update_gallery(gallery, pair.old, sixty, progress=False)
        with pytest.raises(SpaceMismatch, match=f"observed {SPACE}, expected {OTHER_SPACE}"):
            build_gallery(pair.old, sixty, gallery, progress=False)
    rollback_upgrade(gallery)
    assert open_gallery(gallery).search(query, 1)[0][0].key == sixty.keys[0]


def test_a_space_that_declares_nothing_is_refused(pair: Pair, gallery: Path) -> None:
    before = snapshot(gallery)
    silent = EmbeddingSpace(OTHER_SPACE, pair.new.dim, "e" * 64)
    with pytest.raises(SpaceMismatch, match=f"observed compatible_with: none, expected {SPACE}.*--compatible-with"):
        upgrade_gallery(gallery, pair.new, silent)
    with pytest.raises(SpaceMismatch, match="observed compatible_with: sp_x, expected"):
        upgrade_gallery(gallery, pair.new, pair.declaring(space="sp_x"))
    with pytest.raises(SpaceMismatch, match=f"observed {SPACE}, expected {OTHER_SPACE}"):
        upgrade_gallery(gallery, pair.old, pair.after)
    assert snapshot(gallery) == before


def test_what_the_space_measured_decides(pair: Pair, gallery: Path) -> None:
    before = snapshot(gallery)
    worse = {name: {"difference": -0.0125, "ci": [-0.02, -0.01]} for name in BETTER}
    with pytest.raises(GateNotMet, match=r"M\(old, old\): p@1 -0\.0125, map -0\.0125"):
        upgrade_gallery(gallery, pair.new, pair.declaring(compatible=dict.fromkeys(BETTER, False), differences=worse))
    with pytest.raises(DamagedArtifact, match="its record of"):
        upgrade_gallery(gallery, pair.new, pair.declaring(compatible={"map": False}, differences=None))
    assert snapshot(gallery) == before
    mixed = pair.declaring(compatible={"p@1": False, "map": None}, differences=worse)
    whole = Path(shutil.copytree(gallery, gallery.parent / "copy"))
    with pytest.warns(UserWarning, match=r"until the back-fill.*find less.*p@1 -0\.0125"):
        upgrade_gallery(whole, pair.new, mixed)
    with pytest.warns(UserWarning, match="was not measured: the older gallery encoder was not there"):
        upgrade_gallery(
            gallery, pair.new, pair.declaring(compatible=None, reason="the older gallery encoder was not there")
        )


def test_vectors_of_another_length_are_refused(pair: Pair, gallery: Path, tmp_path: Path) -> None:
    longer = load_encoder(linear_bundle(tmp_path / "longer", space=OTHER_SPACE, dim=8))
    space = EmbeddingSpace(OTHER_SPACE, 8, "e" * 64, compatible_with=(RECORD,))
    with pytest.raises(SpaceMismatch, match="another length than the gallery's: observed 8, expected 16"):
        upgrade_gallery(gallery, longer, space)


def test_every_item_carries_its_own_space(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    upgrade_gallery(gallery, pair.new, pair.after)
    report = fill(gallery, pair, sixty, 0.5)
    assert report.spaces == {OTHER_SPACE: 30, SPACE: 30}
    held = vectors_of(gallery)
    assert spaces_of(gallery) == {key: space for key, (space, _) in held.items()}
    encoders = {SPACE: pair.old, OTHER_SPACE: pair.new}
    for row, key in enumerate(sixty.keys):
        space, vector = held[key]
        assert np.allclose(vector, encoders[space].encode([sixty.read(row)]).vectors[0], atol=1e-6)
    with pytest.raises(SpaceMismatch, match=rf"observed 30 of {OTHER_SPACE}, 30 of {SPACE}.*--backfill"):
        load_embeddings(gallery)
    fill(gallery, pair, sixty)
    assert load_embeddings(gallery).space == OTHER_SPACE
    assert "space" not in open_gallery(gallery).items.column_names
    assert verify_gallery(gallery).spaces == {}


def test_an_update_of_a_mixed_gallery(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    upgrade_gallery(gallery, pair.new, pair.after)
    fill(gallery, pair, sixty, 0.5)
    held = vectors_of(gallery)
    # Three keys are called otherwise and keep their vectors, whatever their space; two come; one goes.
    older = [key for key, (space, _) in held.items() if space == SPACE][:2]
    newer = [key for key, (space, _) in held.items() if space == OTHER_SPACE][:1]
    renamed = {key: f"z {key}" for key in (older[0], newer[0], older[1])}
    keys = [renamed.get(key, key) for key in sixty.keys[:-1]]
    fresh = [np.full((28, 28), shade, np.uint8) for shade in (9, 99)]
    pixels = np.stack([sixty.read(row) for row in range(59)] + fresh)
    listed = ImageSet("slice", (*keys, "a", "b"), ArrayReader(pixels), (*sixty.labels[:59], "class 0", "class 1"))
    counted = Scripted(pair.new)
    report = update_gallery(gallery, counted, listed, progress=False)
    assert (report.new, report.renamed, report.removed, counted.images) == (2, 3, 1, 2)
    now = vectors_of(gallery)
    for key, name in renamed.items():
        assert now[name][0] == held[key][0]
        assert now[name][1].tobytes() == held[key][1].tobytes()
    assert {now[key][0] for key in ("a", "b")} == {OTHER_SPACE}
    assert spaces_of(gallery) == {key: space for key, (space, _) in now.items()}
    assert verify_gallery(gallery).rows == 61


def test_a_mixed_gallery_is_compacted_space_by_space(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    upgrade_gallery(gallery, pair.new, pair.after)
    fill(gallery, pair, sixty, 0.5)
    with pytest.raises(UsageError, match=r"can still be rolled back.*--commit, or with --rollback"):
        compact_gallery(gallery)
    commit_upgrade(gallery)
    held = vectors_of(gallery)
    report = compact_gallery(gallery)
    assert (report.nothing, report.rows, report.dropped) == (False, 60, 30)
    assert len(list((gallery / "embeddings").glob("shard-*"))) == 4
    now = vectors_of(gallery)
    assert {key: space for key, (space, _) in now.items()} == {key: space for key, (space, _) in held.items()}
    assert all(now[key][1].tobytes() == held[key][1].tobytes() for key in held)
    assert verify_gallery(gallery).spaces == {OTHER_SPACE: 30, SPACE: 30}
    assert compact_gallery(gallery).nothing
    assert fill(gallery, pair, sixty).share == 1.0


@pytest.mark.parametrize(
    ("factory", "share"), [("Flat", 0.0), ("Flat", 0.4), ("Flat", 1.0), ("IVF4,Flat", 0.4), ("HNSW8", 1.0)]
)
@pytest.mark.filterwarnings("ignore:the index is trained with")
def test_the_way_back(pair: Pair, sixty: ImageSet, tmp_path: Path, factory: str, share: float) -> None:
    gallery, rebuild = tmp_path / "g", factory == "HNSW8"
    build_gallery(pair.old, sixty, gallery, factory=factory, shard_rows=16, progress=False)
    held, card = vectors_of(gallery), json.loads((gallery / "gallery.json").read_text())
    query = pair.old.encode([sixty.read(row) for row in range(10)])
    hits = open_gallery(gallery).search(query, 5)
    upgrade_gallery(gallery, pair.new, pair.after)
    if share:
        backfill_gallery(gallery, pair.new, sixty, share=share, step=20, rebuild=rebuild, progress=False)
    if rebuild and share:
        with pytest.raises(UsageError, match=r"'HNSW8' cannot remove vectors.*--rebuild"):
            rollback_upgrade(gallery)
    report = rollback_upgrade(gallery, rebuild=rebuild)
    assert (report.space, report.former, report.restored, report.lost) == (SPACE, None, int(60 * share), 0)
    now = vectors_of(gallery)
    assert {key: (space, row.tobytes()) for key, (space, row) in now.items()} == {
        key: (space, row.tobytes()) for key, (space, row) in held.items()
    }
    again = json.loads((gallery / "gallery.json").read_text())
    for name in ("space", "encoder", "input", "count", "listing", "images", "spaces", "former"):
        assert again[name] == card[name]
    assert open_gallery(gallery).search(query, 5) == hits or factory == "HNSW8"
    assert verify_gallery(gallery).rows == 60
    assert update_gallery(gallery, Scripted(pair.old), sixty, progress=False).nothing
    with pytest.raises(UsageError, match="has no upgrade that can be rolled back or settled"):
        rollback_upgrade(gallery)
    # And forth again: the job pays for what the way back dropped.
    upgrade_gallery(gallery, pair.new, pair.after)
    assert backfill_gallery(gallery, pair.new, sixty, rebuild=rebuild, progress=False).embedded == 60


def test_what_came_changed_or_went_since_the_upgrade(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    upgrade_gallery(gallery, pair.new, pair.after)
    fill(gallery, pair, sixty)
    delete_items(gallery, sixty.keys[:3])
    pixels = np.stack([np.full((28, 28), shade, np.uint8) for shade in (40, 90)])
    listed = ImageSet("more", (sixty.keys[5], "new"), ArrayReader(pixels), ("class 0", "class 1"))
    update_gallery(gallery, pair.new, listed, remove=False, progress=False)
    report = rollback_upgrade(gallery)
    assert (report.rows, report.restored, report.lost) == (56, 56, 2)
    assert set(vectors_of(gallery)) == set(sixty.keys[3:]) - {sixty.keys[5]}
    assert verify_gallery(gallery).rows == 56
    back = update_gallery(gallery, pair.old, listed, remove=False, progress=False)
    assert (back.new, back.rows) == (2, 58)


def test_an_item_whose_picture_came_back_takes_its_older_vector(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    held = vectors_of(gallery)
    upgrade_gallery(gallery, pair.new, pair.after)
    for image in (np.full((1, 28, 28), 40, np.uint8), sixty.read(5)[None]):
        listed = ImageSet("one", (sixty.keys[5],), ArrayReader(image), ("class 0",))
        update_gallery(gallery, pair.new, listed, remove=False, progress=False)
    assert rollback_upgrade(gallery).lost == 0
    assert vectors_of(gallery)[sixty.keys[5]][1].tobytes() == held[sixty.keys[5]][1].tobytes()


def test_the_way_back_needs_something_to_go_back_to(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    upgrade_gallery(gallery, pair.new, pair.after)
    update_gallery(gallery, pair.new, replaced(sixty), progress=False)
    before = snapshot(gallery)
    with pytest.raises(UsageError, match="nothing would be left"):
        rollback_upgrade(gallery)
    assert verify_gallery(gallery).rows == 60
    assert {name for name in snapshot(gallery) if "shard" in name} == {name for name in before if "shard" in name}


def replaced(images: ImageSet) -> ImageSet:
    """The same keys with other pictures."""
    pixels = np.stack([255 - images.read(row) for row in range(len(images))])
    return ImageSet(images.name, images.keys, ArrayReader(pixels), images.labels)


def test_a_settled_upgrade_has_no_way_back(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    with pytest.raises(UsageError, match="has no upgrade"):
        commit_upgrade(gallery)
    upgrade_gallery(gallery, pair.new, pair.after)
    fill(gallery, pair, sixty)
    assert len(list((gallery / "embeddings").glob("shard-*"))) == 4 + 6
    report = commit_upgrade(gallery)
    assert (report.former, report.share, report.rows) == (None, 1.0, 60)
    # The older shards held nothing else.
    assert len(list((gallery / "embeddings").glob("shard-*"))) == 6
    with pytest.raises(UsageError, match="has no upgrade"):
        rollback_upgrade(gallery)
    assert verify_gallery(gallery).spaces == {}
    query = pair.new.encode([sixty.read(0)])
    assert open_gallery(gallery).search(query, 1)[0][0].key == sixty.keys[0]


def third(pair: Pair, tmp_path: Path, *declared: str) -> tuple[Scripted, EmbeddingSpace]:
    """A still newer encoder, and its space that declares some older ones."""
    bundle = linear_bundle(tmp_path / "third", space=THIRD_SPACE, dim=pair.new.dim, seed=3)
    records = tuple({**RECORD, "space": space} for space in declared)
    return Scripted(load_encoder(bundle)), EmbeddingSpace(THIRD_SPACE, 16, "d" * 64, compatible_with=records)


def test_upgrades_one_after_the_other(pair: Pair, sixty: ImageSet, gallery: Path, tmp_path: Path) -> None:
    upgrade_gallery(gallery, pair.new, pair.after)
    fill(gallery, pair, sixty, 0.5)
    encoder, space = third(pair, tmp_path, SPACE, OTHER_SPACE)
    with pytest.raises(UsageError, match=f"from {SPACE} is not settled.*--commit"):
        upgrade_gallery(gallery, encoder, space)
    commit_upgrade(gallery)
    held = vectors_of(gallery)
    with pytest.raises(SpaceMismatch, match=f"expected {SPACE}"):
        upgrade_gallery(gallery, *third(pair, tmp_path, OTHER_SPACE))
    report = upgrade_gallery(gallery, encoder, space)
    assert report.spaces == {THIRD_SPACE: 0, SPACE: 30, OTHER_SPACE: 30}
    backfill_gallery(gallery, encoder, sixty, share=0.3, progress=False)
    assert len(set(spaces_of(gallery).values())) == 3
    assert verify_gallery(gallery).rows == 60
    report = rollback_upgrade(gallery)
    assert (report.space, report.spaces) == (OTHER_SPACE, {OTHER_SPACE: 30, SPACE: 30})
    now = vectors_of(gallery)
    assert {key: (space, row.tobytes()) for key, (space, row) in now.items()} == {
        key: (space, row.tobytes()) for key, (space, row) in held.items()
    }
    assert fill(gallery, pair, sixty).share == 1.0


def test_a_space_that_nobody_declared_is_damage(pair: Pair, sixty: ImageSet, gallery: Path) -> None:
    upgrade_gallery(gallery, pair.new, pair.after)
    fill(gallery, pair, sixty, 0.5)
    whole = Path(shutil.copytree(gallery, gallery.parent / "copy"))
    # In the shards' manifest.
    path = next((gallery / "embeddings").glob("manifest-*.json"))
    path.write_text(path.read_text().replace(SPACE, THIRD_SPACE))
    reseal(gallery)
    with pytest.raises(DamagedArtifact, match=f"does not accept: observed {THIRD_SPACE}, expected {OTHER_SPACE} or"):
        verify_gallery(gallery)
    with pytest.raises(DamagedArtifact, match=f"does not accept: observed {THIRD_SPACE}"):
        fill(gallery, pair, sixty)
    # In the card, against the items.
    card = read_card(whole)
    for spaces in ({}, {OTHER_SPACE: 60}, {OTHER_SPACE: 30, THIRD_SPACE: 30}, {OTHER_SPACE: 29, SPACE: 31}):
        write_card(whole, card.model_copy(update={"spaces": spaces}))
        with pytest.raises(DamagedArtifact, match="not of the spaces that its card accepts"):
            open_gallery(whole)


Action = Callable[[Path, Pair], UpgradeReport]
ACTIONS: dict[str, Action] = {
    "upgrade": lambda gallery, pair: upgrade_gallery(gallery, pair.new, pair.after),
    "rollback": lambda gallery, pair: rollback_upgrade(gallery),
    "commit": lambda gallery, pair: commit_upgrade(gallery),
}


@pytest.mark.parametrize("step", ["write_manifest", "write_card", "settle"])
@pytest.mark.parametrize("name", ACTIONS)
def test_a_job_that_is_killed_leaves_the_old_state_or_the_new(
    pair: Pair, sixty: ImageSet, gallery: Path, monkeypatch: pytest.MonkeyPatch, name: str, step: str
) -> None:
    if name != "upgrade":
        upgrade_gallery(gallery, pair.new, pair.after)
        fill(gallery, pair, sixty, 0.5)
    whole = Path(shutil.copytree(gallery, gallery.parent / "whole"))
    ACTIONS[name](whole, pair)
    generation = open_gallery(gallery).card.generation

    def die(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killing:
        killing.setattr(switch, step, die)
        with pytest.raises(KeyboardInterrupt):
            ACTIONS[name](gallery, pair)
    switched = open_gallery(gallery).card.generation > generation
    assert switched == (step == "settle")
    verify_gallery(gallery)
    if switched and name != "upgrade":
        with pytest.raises(UsageError, match="has no upgrade"):
            ACTIONS[name](gallery, pair)
    else:
        assert ACTIONS[name](gallery, pair).nothing == switched
    assert snapshot(gallery) == snapshot(whole)


def test_no_warning_where_all_is_well(pair: Pair, gallery: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        upgrade_gallery(gallery, pair.new, pair.after)
