"""The words of scripts/table_nas.py: results/nas.md, from the rows that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from tables import Row, Table, judge, kendall, markdown, mean_of, over_seeds

from hetsearch.files import write_text

COMMAND = "python scripts/table_nas.py"
SEEDS = (0, 1, 2)
REWARD_KINDS = ("R1", "R2", "R3")
HYBRID = "compact hybrid"
OTHERS: dict[str, dict[str, Any]] = {
    HYBRID: {"architecture": "compact"},
    "MobileNetV3-Small": {"architecture": "timm", "arguments": {"name": "mobilenetv3_small_100"}},
    "ShuffleNetV2 x0.5": {"architecture": "torchvision", "arguments": {"name": "shufflenet_v2_x0_5"}},
}
SMALL_NAME = "R3 at 1/80"  # of the search at 80 times fewer MACs, where it is another than the first
FREE_NAME = "R1, free supernet"
NAMES = (*REWARD_KINDS, "random", FREE_NAME, SMALL_NAME, *OTHERS)
TERMS = ("with", "BCT", "without")  # how the architectures by chance are trained
DRAWS = 1000  # of the bootstrap
PAPER = 0.003  # how near the paper's networks come to the paragon on DeepFashion2, at 80 times fewer MACs


def write_words(table: Table, sets: Sequence[str], path: Path) -> None:
    """The tables and a sentence for each question."""
    lines = [
        "# Architecture search for compatibility",
        "",
        f"Made by `{COMMAND}` from `results/nas.json`. M(q, g) on the test images, mean over seeds (smallest to "
        "largest), against the released gallery encoder with int8 weights; the row M(g,g) is that encoder's, the "
        "distance to M(g,g) is told by its float32 weights'. Every network is trained "
        "from scratch, for fewer epochs than the released example, those at 1/80 for more, and at a learning rate of "
        "its own: the recipe's, doubled or halved as long as a short training, one seed, is better by M(q,g) mAP on "
        "the validation split. MobileNetV3-Small and ShuffleNetV2 see the largest input within the budget; all else "
        "is the recipe's. Supernet and race (below) have the recipe's rate. Where trials differ by less than seeds do, "
        "which rate is the best is partly chance, and so is where the climb ended.",
        "",
        "R1, R2 and R3 are the rewards M(q, q), M(q, g) and their product, on the validation split, with the weights "
        "of one supernet; the best few of each search, and of the random one by R3, are then trained from scratch for "
        "a short while, and the best of these by the same reward is the row's. They are one search each: the seeds "
        "are those of the last training, and tell nothing of another search. That the paper (arXiv 2105.06047) used "
        "these rewards is remembered and was not confirmed; none of its tables could be read. The supernet is trained "
        "by the recipe's objectives; of the row with a free supernet by classification and Multi-Similarity alone, "
        "which know nothing of the gallery encoder: a search as usual. That R2 is compared with others was decided "
        "after its rows were seen.",
        "",
    ]
    for data in sets:
        source = f"{data}:test"
        if table.of("M(g,g)", source):
            lines += [f"## {data}", "", *_networks(table, source), "", *_questions(table, source)]
            lines += [_rates(table, source), ""]
            lines += _sampled(table, source)
    write_text(path, "\n".join(lines).rstrip() + "\n")


def with_interval(first: ArrayLike, second: ArrayLike) -> tuple[float, float, float]:
    """Kendall's τ-b with its 95 % interval over draws of the architectures."""
    a, b = np.asarray(first), np.asarray(second)
    random = np.random.default_rng(0)
    drawn = [random.integers(0, len(a), len(a)) for _ in range(DRAWS)]
    low, high = np.nanquantile([kendall(a[rows], b[rows]) for rows in drawn], [0.025, 0.975])
    return kendall(a, b), float(low), float(high)


def _networks(table: Table, source: str) -> list[str]:
    cells = []
    for name in ("M(g,g)", *NAMES):
        rows = table.of(name, source)
        if rows:
            first = rows[0]
            own = mean_of(rows, "homogeneous", "map") if "homogeneous" in first else "–"
            numbers = [mean_of(rows, "metrics", metric) for metric in ("p@1", "map")]
            arch = f"`{first['arch']}`" if "arch" in first else "–"
            costs = [f"{first['cost'][kind]:,}" for kind in ("macs", "params")]
            trained = [f"{first['lr']:g}" if "lr" in first else "–", str(first.get("epochs", "–")), str(len(rows))]
            cells.append([name, str(first.get("input", "–")), *costs, *trained, *numbers, own, arch])
    training, accuracies = ["rate", "epochs", "seeds"], ["M(q,g) P@1", "M(q,g) mAP", "M(q,q) mAP"]
    return markdown(["network", "input", "MACs", "parameters", *training, *accuracies, "architecture"], cells)


def _rates(table: Table, source: str) -> str:
    each = []
    for name in NAMES:
        for row in table.of(name, source)[:1]:  # found once, for all seeds
            tried = sorted((float(rate), worth) for rate, worth in row["rates"].items())
            told = ", ".join(f"{rate:g} {'diverged' if worth is None else f'{worth:.4f}'}" for rate, worth in tried)
            each.append(f"{name}: {told} ({row['trials']} each)")
    return f"- Learning rates that were tried, with M(q,g) mAP on the validation split after it. {'; '.join(each)}."


def _questions(table: Table, source: str) -> list[str]:
    lines = []
    others = (HYBRID, "random", "R1", "R2", FREE_NAME, *(name for name in OTHERS if name != HYBRID))
    for first, second in [*(("R3", name) for name in others), *(("R2", name) for name in (HYBRID, "random", "R1"))]:
        seeds = [row["seed"] for row in table.of(first, source) if table.has(second, source, row["seed"])]
        if seeds and (same := _arch(table, first, source)) is not None and same == _arch(table, second, source):
            lines.append(f"- {first} and {second} found the same network.")
            continue
        found = [table.compare(first, second, source, seed, "map") for seed in seeds]
        each = ", ".join(f"{one['difference']:+.4f} [{one['ci'][0]:+.4f}, {one['ci'][1]:+.4f}]" for one in found)
        judged = judge(found, seeds=len(SEEDS))
        lines.append(f"- {first} above {second}, by M(q,g) mAP: {judged} ({each or 'no seed'}).")
    return lines + _near_paragon(table, source)


def _arch(table: Table, name: str, source: str) -> str | None:
    rows = table.of(name, source)
    return rows[0].get("arch") if rows else None


def _near_paragon(table: Table, source: str) -> list[str]:
    (paragon,) = table.of("M(g,g)", source)
    lines = []
    for name in ("R3", SMALL_NAME):
        rows = table.of(name, source)
        if rows:
            above = paragon["paragon"]["map"]
            times = paragon["cost"]["macs"] / rows[0]["cost"]["macs"]
            gap = over_seeds([(above - row["metrics"]["map"]) / above for row in rows])
            lines.append(
                f"- {name}: {times:.0f} times fewer MACs than the gallery encoder; M(q,g) mAP is below M(g,g) "
                f"{above:.4f} ({paragon['paragon_source']}) by a share of {gap}; the paper says {PAPER} at 80 times, "
                "on DeepFashion2, by another measure, and whether as a share or a difference is not known."
            )
    return lines


def _sampled(table: Table, source: str) -> list[str]:
    trained = {terms: _by_arch(table, source, terms) for terms in TERMS}
    names = sorted(set.intersection(*(set(rows) for rows in trained.values())))
    if len(names) < 3:
        return []
    lines = [
        "### Sampled architectures",
        "",
        f"{len(names)} drawn by chance, evenly over the MACs below the budget; each is trained once from scratch with "
        f"the recipe's compatibility objectives (with; {_how(trained['with'])}), by the gallery encoder's frozen "
        f"classifier alone (BCT; {_how(trained['BCT'])}) and by classification and Multi-Similarity alone (without; "
        f"{_how(trained['without'])}). Intervals are over draws of so few architectures: rough, and of no width where "
        "all pairs are ranked alike.",
        "",
    ]
    for terms, rows in trained.items():
        own = [rows[name]["homogeneous"]["map"] for name in names]
        cross = [rows[name]["metrics"]["map"] for name in names]
        lines.append(f"- {terms}, M(q,q) against M(q,g): {_words(own, cross)}")
    alone = [trained["with"][name] for name in names]
    macs, cross = [row["cost"]["macs"] for row in alone], [row["metrics"]["map"] for row in alone]
    lines.append(f"- with, MACs against M(q,g): {_words(macs, cross)}")
    for kind in REWARD_KINDS:
        own, cross = ([row[which]["map"] for row in alone] for which in ("homogeneous", "metrics"))
        worth = {"R1": own, "R2": cross, "R3": [a * b for a, b in zip(own, cross, strict=True)]}[kind]
        shared = [row["supernet"][kind] for row in alone]
        lines.append(f"- with, {kind} with the supernet's weights against stand-alone: {_words(shared, worth)}")
    columns = [f"{cell} {terms}" for terms in trained for cell in ("M(q,q)", "M(q,g)")]
    header = ["architecture", "MACs", *columns, "R3 in the supernet"]
    cells = [
        [
            f"`{name}`",
            f"{trained['with'][name]['cost']['macs']:,}",
            *(f"{trained[terms][name][which]['map']:.4f}" for terms in trained for which in ("homogeneous", "metrics")),
            f"{trained['with'][name]['supernet']['R3']:.4f}",
        ]
        for name in sorted(names, key=lambda one: trained["with"][one]["cost"]["macs"])
    ]
    return [*lines, "", *markdown(header, cells), ""]


def _how(rows: dict[str, Row]) -> str:
    row = next(iter(rows.values()))
    return f"{row['epochs']} epochs, rate {row['lr']:g}"


def _by_arch(table: Table, source: str, terms: str) -> dict[str, Row]:
    found = [row for row in table.rows if row["data"] == source and row["name"].startswith(f"{terms} ")]
    return {row["name"].removeprefix(f"{terms} "): row for row in found}


def _words(first: Sequence[float], second: Sequence[float]) -> str:
    tau, low, high = with_interval(first, second)
    pearson = float(np.corrcoef(first, second)[0, 1])
    return f"Kendall τ {tau:+.2f} [{low:+.2f}, {high:+.2f}], Pearson {pearson:+.2f}, {len(first)} architectures."
