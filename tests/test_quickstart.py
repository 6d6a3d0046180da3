"""The main job from end to end, on a small example of the released one's form and 600 real images."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from hetsearch import quickstart
from hetsearch.bundle import read_card
from hetsearch.errors import UsageError
from hetsearch.export import export_bundle
from hetsearch.space import EmbeddingSpace
from hetsearch.training.gallery import train_gallery
from hetsearch.training.query import train_query
from hetsearch.training.recipe import Recipe


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory, fashion_train_folder: Path, fashion_folder: Path) -> Path:
    """Real images in one manifest with a split column, in place of the named set."""
    path = tmp_path_factory.mktemp("manifest") / "images.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "path", "label", "split"])
        for split, folder in (("train", fashion_train_folder), ("test", fashion_folder)):
            for image in sorted(folder.rglob("*.png")):
                writer.writerow([f"{split}/{image.parent.name}/{image.name}", image, image.parent.name, split])
    return path


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Path:
    """Space, gallery encoder, query encoder and free encoder, as released ones lie; small networks."""
    out = tmp_path_factory.mktemp("zoo")
    shared: dict[str, Any] = {
        "data": {"train": f"{manifest}:train", "validation": f"{manifest}:test"},
        "input": {"background": 0},
        "batches": {"size": 40},
        "optimizer": {"lr": 0.01},
        "schedule": {"epochs": 2},
    }
    own = {"classification": {}, "multi_similarity": {"weight": 0.5}}
    anchored = {"frozen_classifier": {}, "cosine_regression": {"weight": 4}}

    def recipe(width: int, objectives: dict[str, dict[str, float]], role: str = "gallery") -> Recipe:
        encoder = {"arguments": {"widths": [width, 2 * width]}, "dim": 16}
        precision = "bf16" if width > 8 else "float32"  # the released gallery encoder's and the others'
        return Recipe.model_validate(
            {**shared, "encoder": encoder, "objectives": objectives, "role": role, "precision": precision}
        )

    export_bundle(train_gallery(recipe(16, own), out).bundle)
    query = train_query(recipe(8, anchored), out, out / "query")
    free = train_gallery(recipe(8, own, "free"), out / "free")
    for trained in (query, free):
        export_bundle(trained.bundle)
        trained.bundle.rename(out / trained.bundle.name)
    return out


def test_the_main_job(tmp_path: Path, zoo: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quickstart, "DATA", str(manifest))
    monkeypatch.setattr(quickstart, "fetch", lambda *_, **__: None)
    monkeypatch.setattr(quickstart, "EPOCHS", 3)
    monkeypatch.setattr(quickstart, "TAUGHT", 30)
    monkeypatch.setattr(quickstart, "TAUGHT_EPOCHS", 4)
    done = quickstart.quickstart(tmp_path, zoo)
    kinds = [row.kind for row in done.evaluation.matrix]
    assert kinds.count("baseline") == 2  # trained now, and released
    assert {"paragon", "heterogeneous", "homogeneous", "control"} <= set(kinds)
    assert all(len(hits) == 5 and key not in {hit.key for hit in hits} for key, hits in done.hits.items())
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    by_kind = {row["kind"]: row["map"] for row in report["matrix"]}
    assert report["verdict"]["retention"]["map"] == pytest.approx(by_kind["heterogeneous"] / by_kind["paragon"])
    assert (tmp_path / "report" / "report.html").is_file()
    again = quickstart.quickstart(tmp_path, zoo)  # everything is there; nothing is trained or embedded twice
    assert again.evaluation.matrix == done.evaluation.matrix
    scratch = quickstart.quickstart(tmp_path, zoo, from_scratch=True)  # a space of its own, beside the other
    assert scratch.out == tmp_path / "from-scratch"
    assert read_card(scratch.out / "query" / "query-encoder").space == EmbeddingSpace.load(scratch.out).id
    assert read_card(tmp_path / "query" / "query-encoder").space == EmbeddingSpace.load(zoo).id


def test_a_folder_that_is_no_example_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--zoo"):
        quickstart.quickstart(tmp_path / "out", tmp_path)
