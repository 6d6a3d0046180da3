"""The words and the rank correlation of the table of architecture searches, without any training."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import kendalltau

from hetsearch.evaluation.result import METRICS
from hetsearch.evaluation.scores import Scores

SOURCE = "fashion-mnist:test"


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import nas_words

    return nas_words


@pytest.mark.parametrize("seed", range(4))
def test_the_rank_correlation_is_scipys(words: ModuleType, seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.integers(0, 12 if seed % 2 else 10_000, 30)  # with ties and without
    second = first + random.normal(scale=first.std(), size=30).round(seed % 2)
    assert words.kendall(first, second) == pytest.approx(kendalltau(first, second).statistic)
    tau, low, high = words.with_interval(first, second)
    assert low < tau < high


def test_the_words_of_a_few_rows(words: ModuleType, tmp_path: Path) -> None:
    import tables

    table = tables.Table(tmp_path / "nas.json", tmp_path / "runs", "python table_nas.py")
    random = np.random.default_rng(0)
    hard = random.random(100)

    def add(name: str, lift: float, macs: int, **more: object) -> None:
        values = dict.fromkeys(METRICS, hard * 0.5 + lift)
        own = dict.fromkeys(METRICS, 0.4 + lift)
        cost = {"macs": macs, "params": 5, "bytes": 20}
        scores = Scores(values, np.arange(100), 0, np.zeros(1))
        table.add(name, SOURCE, 0, scores, cost=cost, homogeneous=own, **more)

    add("M(g,g)", 0.4, 290_000_000)
    add("R3", 0.3, 2_900_000, arch="c3-skip", reward=0.2)
    add("compact hybrid", 0.2, 3_000_000)
    for number in range(5):
        name, lift = f"c3-s{number}", 0.05 * number
        rewards = {"R1": lift, "R2": lift, "R3": lift}
        add(f"with {name}", lift, 1000 * (number + 1), supernet=rewards)
        add(f"without {name}", 0.1 - 0.01 * number, 1000 * (number + 1), supernet=rewards)
    words.write_words(table, ["fashion-mnist", "emoji"], tmp_path / "nas.md")
    text = (tmp_path / "nas.md").read_text()
    assert "## emoji" not in text
    assert "| R3 | 2,900,000 |" in text
    assert "`c3-skip`" in text
    # One seed of three is no verdict.
    assert "- R3 above compact hybrid, by M(q,g) mAP: not measured with all seeds (+0.1000 [" in text
    assert "100 times fewer MACs" in text
    assert "R3 with the supernet's weights against stand-alone: Kendall τ +1.00" in text
    assert "was not confirmed" in text
