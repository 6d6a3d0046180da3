"""The rows of the upgrade table, with trainings that take no time."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hetsearch.evaluation.scores import Scores, score
from hetsearch.metrics import Items, update_gain


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import table_upgrade

    return table_upgrade


NOISE = {"old": 1.2, "free": 0.2}  # and 0.6 of the others


class Made:
    """Test images whose vectors come nearer to their class the better the encoder is, by its folder's name."""

    def __init__(self, source: str) -> None:
        random = np.random.default_rng(3)
        self.source, self.labels = source, random.integers(0, 5, 120)
        self.centres = random.normal(size=(5, 8))

    def embed(self, bundle: Path) -> Any:
        name = bundle.name.rsplit("-", 1)[0]
        random = np.random.default_rng(len(name))
        return self.centres[self.labels] + random.normal(size=(120, 8)) * NOISE.get(name, 0.6)

    def score(self, query: Any, gallery: Any) -> Scores:
        keys = [str(number) for number in range(len(self.labels))]
        sides = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (query, gallery)]
        return score(*(Items(one, self.labels, keys) for one in sides))


@pytest.fixture
def table(upgrade: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    against: dict[str, Any] = {}

    def train(recipe: Any, out: Path, **more: Any) -> Any:
        against[out.name] = (sorted(recipe.objectives), more.get("compatible_with"))
        return SimpleNamespace(bundle=out, best={"backward_map": 0.5})

    monkeypatch.setattr(upgrade, "Measured", Made)
    monkeypatch.setattr(upgrade, "train_gallery", train)
    monkeypatch.setattr(upgrade, "export_bundle", lambda _: None)
    monkeypatch.setattr(upgrade, "about", lambda _: {"cost": {"params": 5}})
    made = upgrade.Table(tmp_path / "upgrade.json", tmp_path / "runs", "python table.py")
    made.against = against
    return made


def test_the_new_encoder_asks_and_the_old_one_answers(upgrade: ModuleType, table: Any) -> None:
    upgrade.make_rows(table, 0)
    made = Made(upgrade.SOURCE)
    old, free, new = (made.embed(Path(name)) for name in ("old-0", "free-0", "bct--pseudo-classifier-0"))
    before, above = made.score(old, old).means(), made.score(free, free).means()
    (row,) = table.of("BCT, pseudo-classifier", upgrade.SOURCE)
    found = made.score(new, old).means()
    assert row["metrics"]["map"] == pytest.approx(found["map"])
    assert found["map"] != pytest.approx(made.score(old, new).means()["map"], abs=1e-3)  # else they could be swapped
    assert row["validation"] == {"backward_map": 0.5}
    assert row["new_new"]["map"] == pytest.approx(made.score(new, new).means()["map"])
    for metric in ("p@1", "map"):
        expected = update_gain(found[metric], before[metric], above[metric])
        assert row["update_gain"][metric] == pytest.approx(expected)
    (control,) = table.of(upgrade.CONTROL_ROW, upgrade.SOURCE)
    assert control["metrics"]["map"] == pytest.approx(made.score(free, old).means()["map"])
    assert table.against["bct--pseudo-classifier-0"][1] == table.runs / "old-0"
    assert table.against["free-0"] == (["classification", "multi_similarity"], None)


def test_the_criterion_is_against_the_old_encoder_alone(upgrade: ModuleType, table: Any, tmp_path: Path) -> None:
    for seed in upgrade.SEEDS:
        upgrade.make_rows(table, seed)
    upgrade.write_words(table, tmp_path / "upgrade.md")
    text = (tmp_path / "upgrade.md").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("| BCT, pseudo-classifier"))
    rows = [table.of(name, upgrade.SOURCE)[0]["metrics"] for name in ("BCT, pseudo-classifier", upgrade.OLD_ROW)]
    for metric in ("map", "p@1"):
        assert f"{rows[0][metric] - rows[1][metric]:+.4f}" in line
    assert "confirmed" in line
